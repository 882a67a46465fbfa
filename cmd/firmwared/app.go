// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/config"
	"firmwared/core/fault"
)

// version is set by the Makefile.
var version = "devel"

// Exit statuses. Commands that run a program pass its own on instead.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2
	exitOurs   = 125 // firmwared itself failed, in a command that passes a status on
)

// usageError is wrong usage of the command line.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Sprintf(format, args...)}
}

// status is an error that only sets the exit status: everything has been said.
type status int

func (s status) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// run is main without the process: it returns the exit status.
func run(args []string) int {
	app := newApp()
	return exitStatus(app.RunContext(untilSignal(context.Background()), permute(app, args)))
}

func exitStatus(err error) int {
	var code status
	var usage *usageError
	var broken *signalled
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &code):
		return int(code)
	case errors.As(err, &usage):
		say(err)
		return exitUsage
	case errors.As(err, &broken):
		say(err)
		return broken.status()
	}
	say(err)
	return exitFailed
}

// say writes an error to stderr, a line for each of those that it joins.
func say(err error) {
	for _, line := range strings.Split(err.Error(), "\n") {
		notice(line)
	}
}

func newApp() *cli.App {
	app := &cli.App{
		Name:    "firmwared",
		Usage:   "run firmware root file systems as disposable, isolated instances",
		Version: version,
		Description: `A firmware is a directory that a build has produced, or an image file; it is
never modified. An instance is a copy-on-write view of it, with the firmware's
own init as pid 1 of its own namespaces.

   firmwared run ./final -- /bin/sh -c 'echo hello'   run once in a directory
   firmwared firmware add rootfs.img --name fw   register an image
   firmwared prepare fw --name box                    make an instance
   firmwared start box && firmwared logs -f box       run its init
   firmwared drop --force box                         throw it away

Exit status: 0 done, 1 failed, 2 wrong usage. run, wait, start --attach, attach
and exec exit as the program did: 128+N for signal N, 126 or 127 when it cannot
be run or found, 125 when firmwared itself failed. A command that Ctrl-C breaks off
exits 130.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "config", Usage: "read settings from `FILE` (default: " + config.DefaultFile + ")"},
			&cli.StringFlag{Name: "root", Usage: "keep all state and run-time files in `DIR` (environment FIRMWARED_ROOT)"},
			&cli.BoolFlag{Name: "verbose", Usage: "show every hook call, its time and its result"},
		},
		Commands: []*cli.Command{
			firmwareCommand(), prepareCommand(), startCommand(), runCommand(), attachCommand(), execCommand(),
			cpCommand(), killCommand(), restartCommand(), remountCommand(), resetCommand(), dropCommand(),
			listCommand(), showCommand(), getCommand(), setCommand(), logsCommand(), diffCommand(),
			exportCommand(), commitCommand(), applyCommand(), snapshotCommand(), rollbackCommand(),
			cloneCommand(), watchCommand(), statsCommand(), eventsCommand(), waitCommand(), hookCommand(),
			profileCommand(), doctorCommand(), gcCommand(), configCommand(), versionCommand(),
		},
		EnableBashCompletion:      true,
		DisableSliceFlagSeparator: true,
		HideVersion:               true,
		ExitErrHandler:            func(*cli.Context, error) {},
		Action:                    unknownCommand,
	}
	app.Commands = append(app.Commands, extraCommands()...)
	setUsageErrors(app.Commands)
	app.OnUsageError = asUsage
	return app
}

// setUsageErrors makes the library's complaints ours: one line, exit status 2.
func setUsageErrors(commands []*cli.Command) {
	for _, cmd := range commands {
		cmd.OnUsageError = asUsage
		cmd.HideHelpCommand = len(cmd.Subcommands) == 0 // "start help" starts an instance of that name
		if len(cmd.Subcommands) > 0 && cmd.Action == nil {
			cmd.Action = unknownCommand
		}
		setUsageErrors(cmd.Subcommands)
	}
}

func asUsage(c *cli.Context, err error, _ bool) error {
	return usagef("%s: %v (see firmwared %s --help)", commandPath(c), err, strings.TrimPrefix(commandPath(c), "firmwared "))
}

func unknownCommand(c *cli.Context) error {
	if c.NArg() == 0 {
		return cli.ShowSubcommandHelp(c)
	}
	return usagef("there is no command %q (firmwared help lists them)", strings.TrimSpace(strings.TrimPrefix(c.Command.HelpName, "firmwared")+" "+c.Args().First()))
}

// commandPath is the words that led to a command.
func commandPath(c *cli.Context) string {
	if c.Command != nil && c.Command.HelpName != "" {
		return c.Command.HelpName
	}
	return "firmwared"
}

func loadConfig(c *cli.Context) (*config.Config, error) {
	path := c.String("config")
	return config.Load(path, path != "", c.String("root"), os.Getenv)
}

// look opens the root for a command that changes nothing.
func look(c *cli.Context) (*core.Manager, error) {
	cfg, err := loadConfig(c)
	if err != nil {
		return nil, err
	}
	if c.IsSet("jobs") {
		cfg.Jobs = c.Int("jobs")
	}
	return core.Open(cfg, c.Bool("verbose"), notice)
}

// enter opens the root for a command that changes something; the caller closes.
func enter(c *cli.Context) (*core.Manager, error) {
	m, err := look(c)
	if err != nil {
		return nil, err
	}
	if err := m.Enter(c.Context); err != nil {
		m.Close()
		return nil, err
	}
	fault.Trace("entered")
	return m, nil
}
