// SPDX-License-Identifier: Apache-2.0

// Command firmwared runs firmware root file systems as disposable, isolated
// instances. This package is the command line: it parses, calls core and prints;
// it decides nothing.
package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"firmwared/core"
	"firmwared/core/conformance"
	"firmwared/core/fault"
	"firmwared/core/sandbox"
	"firmwared/core/supervisor"
)

func main() {
	syscall.Umask(0o022)
	// What the caller left open is none of ours, of the hooks' or of pid 1's.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case supervisor.SuperviseArg:
			supervisor.Main()
		case sandbox.InitArg:
			sandbox.Main()
		case conformance.Arg:
			conformance.Main()
		case core.EndedArg:
			if len(os.Args) == 3 {
				os.Exit(core.Ended(os.Args[2]))
			}
		}
	}
	status := run(os.Args)
	fault.Trace("exit")
	os.Exit(status)
}
