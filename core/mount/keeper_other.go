// SPDX-License-Identifier: Apache-2.0

//go:build !amd64

package mount

import "os"

func startKeeper() (*os.Process, error) { return keeperByFork() }
