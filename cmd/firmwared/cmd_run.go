// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"firmwared/core"
	"firmwared/core/console"
	"firmwared/core/registry"
	"firmwared/core/supervisor"
)

func runCommand() *cli.Command {
	return &cli.Command{
		Name:      "run",
		Usage:     "make an instance of a firmware, run a program in it, and exit as that did",
		UsageText: "firmwared run F|PATH [--rm] [--name N] [-t] [RUN OPTIONS] [-- CMD ARG...]",
		Description: `A PATH that is not registered is. In a terminal the program gets a terminal, in
a script plain pipes.

   firmwared run ./final --rm -- /bin/sh -c 'exit 7'; echo $?
   firmwared run rootfs.img --rm -t -- /bin/sh
   tar c . | firmwared run fw --rm --bind "$PWD/out:/out" -- tar xC /out`,
		Flags: append(runFlags(),
			&cli.BoolFlag{Name: "rm", Usage: "drop it afterwards, and the firmware too if this run registered it"},
			&cli.StringFlag{Name: "name", Usage: "name it `N` (default: one is made up)"},
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give it a terminal even in a script"},
		),
		Action:       runOnce,
		BashComplete: completeFirmwares,
	}
}

func runOnce(c *cli.Context) (err error) {
	keys, program := words(c)
	if len(keys) != 1 {
		if len(keys) > 1 {
			return usagef("put -- before the program: firmwared run %s -- %s ...", keys[0], keys[1])
		}
		return usagef("usage: %s", c.Command.UsageText)
	}
	o, err := startOptions(c, program)
	if err != nil {
		return err
	}
	m, err := enter(c)
	if err != nil {
		return ours(err)
	}
	defer m.Close()
	rm := c.Bool("rm")
	show, end := progress("sha256")
	inst, err := m.PrepareToRun(c.Context, keys[0], core.AddOptions{Ephemeral: rm, Progress: show},
		core.PrepareOptions{Name: c.String("name"), Ephemeral: rm, Unconfined: o.Unconfined})
	end()
	if err != nil {
		return ours(err)
	}
	var exit *supervisor.Exit
	detached := false
	if c.Bool("tty") || console.IsTerminal(os.Stdin) && console.IsTerminal(os.Stdout) {
		exit, detached, err = attached(c, m, inst, o)
	} else {
		exit, err = piped(c.Context, m, inst, o)
	}
	err = errors.Join(err, m.EndRun(context.WithoutCancel(c.Context), inst, detached))
	if err != nil {
		return ours(err)
	}
	return asProgram(exit)
}

// notForwarded are the signals that mean this process or cannot be caught.
var notForwarded = []syscall.Signal{unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGPIPE, unix.SIGURG, unix.SIGTTIN, unix.SIGTTOU, unix.SIGTSTP, unix.SIGCONT, unix.SIGWINCH}

// piped runs pid 1 with plain pipes and passes signals on to it.
func piped(ctx context.Context, m *core.Manager, inst *registry.Instance, o core.StartOptions) (*supervisor.Exit, error) {
	forward := catchSignals()
	run, err := m.Begin(ctx, inst, o, supervisor.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr})
	if err != nil {
		return nil, err
	}
	go forward(run.Signal)
	exit, err := run.Wait()
	return &exit, err
}

// catchSignals keeps those that are to be passed on; forward does so for as long
// as the process lives. They are caught until then, too: to let go of one costs as
// much as to catch it, a change of threads, and nobody is waiting for it.
func catchSignals() (forward func(send func(syscall.Signal) error)) {
	signals := make(chan os.Signal, 64)
	for n := syscall.Signal(1); n < 65; n++ {
		// The runtime has uses of its own for some, and faults are no messages.
		if unix.SignalName(n) != "" && !slices.Contains(notForwarded, n) && !isFault(n) {
			signal.Notify(signals, n)
		}
	}
	return func(send func(syscall.Signal) error) {
		for sig := range signals {
			_ = send(sig.(syscall.Signal))
		}
	}
}

func isFault(n syscall.Signal) bool {
	return slices.Contains([]syscall.Signal{unix.SIGSEGV, unix.SIGBUS, unix.SIGFPE, unix.SIGILL, unix.SIGTRAP, unix.SIGABRT, unix.SIGSYS, unix.SIGPROF}, n)
}
