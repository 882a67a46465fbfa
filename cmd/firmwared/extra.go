// SPDX-License-Identifier: Apache-2.0

//go:build !docs

package main

import "github.com/urfave/cli/v2"

// extraCommands are those that only the build that writes the manual has.
func extraCommands() []*cli.Command { return nil }
