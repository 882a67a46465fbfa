// SPDX-License-Identifier: Apache-2.0

//go:build faults

package main

func init() { version += "+faults" }
