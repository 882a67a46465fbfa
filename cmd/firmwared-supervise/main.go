// SPDX-License-Identifier: Apache-2.0

// Command firmwared-supervise is what a running instance costs: its supervisor,
// and the init stage that becomes its pid 1. firmwared starts it, with orders that
// only the same build understands, and can do both itself. It is a program of its
// own because each of hundreds of supervisors pays for what it links, so it links
// as little as it can (test/small.bats has the limits).
package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox"
	"firmwared/core/supervisor"
)

func main() {
	syscall.Umask(0o022)
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case supervisor.SuperviseArg:
			supervisor.Main()
		case sandbox.InitArg:
			sandbox.Main()
		case "version":
			_, err := os.Stdout.WriteString("firmwared-supervise " + sandbox.Build + "\n")
			if err == nil {
				return
			}
		}
	}
	_, _ = os.Stderr.WriteString("firmwared-supervise: it is run by firmwared (see firmwared start --help)\n")
	os.Exit(2)
}
