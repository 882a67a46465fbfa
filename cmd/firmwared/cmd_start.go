// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/console"
	"firmwared/core/registry"
	"firmwared/core/sandbox"
	"firmwared/core/supervisor"
)

// runFlags are the RUN OPTIONS.
func runFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set `NAME=VALUE` in the environment of pid 1"},
		&cli.StringFlag{Name: "cwd", Usage: "start in directory `D` of the instance"},
		&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `U[:G]`, the firmware's own names or numbers"},
		&cli.StringSliceFlag{Name: "bind", Usage: "show `SRC:DST[:ro]`, a file or directory of this machine, inside"},
		setFlag(),
		&cli.BoolFlag{Name: "unconfined", Usage: "leave pid 1 every capability: the program can harm this machine"},
	}
}

func startOptions(c *cli.Context, program []string) (o core.StartOptions, err error) {
	o = core.StartOptions{
		Args: program, Env: c.StringSlice("env"), Cwd: c.String("cwd"), User: c.String("user"),
		Set: c.StringSlice("set"), Unconfined: c.Bool("unconfined"),
	}
	if err := checkEnv(o.Env); err != nil {
		return o, err
	}
	for _, text := range c.StringSlice("bind") {
		bind, err := core.ParseBind(text)
		if err != nil {
			return o, usagef("--bind %v", err)
		}
		o.Binds = append(o.Binds, bind)
	}
	if o.Cwd != "" && !strings.HasPrefix(o.Cwd, "/") {
		return o, usagef("--cwd %q is not an absolute path", o.Cwd)
	}
	return o, nil
}

func checkEnv(env []string) error {
	for _, word := range env {
		if name, _, ok := strings.Cut(word, "="); !ok || name == "" {
			return usagef("--env %q is not NAME=VALUE", word)
		}
	}
	return nil
}

func startCommand() *cli.Command {
	return &cli.Command{
		Name:      "start",
		Usage:     "run pid 1 of instances",
		UsageText: "firmwared start I... [--attach] [RUN OPTIONS] [--jobs N] [-- CMD ARG...]",
		Description: `Without a CMD pid 1 is the property cmdline, then the configured one, /sbin/init.

   firmwared start box
   firmwared start box --attach -- /bin/sh
   firmwared start --all --env DEBUG=1`,
		Flags:        manyFlags(append(runFlags(), &cli.BoolFlag{Name: "attach", Usage: "show its console here, and exit as pid 1 does"}, allFlag())...),
		Action:       start,
		BashComplete: completeInstances,
	}
}

func start(c *cli.Context) error {
	keys, program := words(c)
	o, err := startOptions(c, program)
	if err != nil {
		return err
	}
	if !c.Bool("attach") {
		return onInstances(c, func(m *core.Manager, inst *registry.Instance) (result, error) {
			return nil, m.Start(c.Context, inst, o)
		})
	}
	if len(keys) != 1 || c.Bool("all") {
		return usagef("--attach is for one instance")
	}
	m, err := enter(c)
	if err != nil {
		return ours(err)
	}
	defer m.Close()
	inst, err := m.Instance(keys[0])
	if err != nil {
		return ours(err)
	}
	exit, detached, err := attached(c, m, inst, o)
	if err = errors.Join(err, m.EndRun(context.WithoutCancel(c.Context), inst, detached)); err != nil {
		return ours(err)
	}
	return asProgram(exit)
}

// attached starts an instance with this terminal as its console, and returns
// when it ends or the user leaves.
func attached(c *cli.Context, m *core.Manager, inst *registry.Instance, o core.StartOptions) (exit *supervisor.Exit, detached bool, err error) {
	keys, names, err := detachKeys(c)
	if err != nil {
		return nil, false, err
	}
	o.Rows, o.Cols = windowSize()
	session, err := m.StartAttached(c.Context, inst, o)
	if err != nil {
		return nil, false, err
	}
	noticeAttached(inst.Name, names)
	result, err := session.Run(context.WithoutCancel(c.Context),
		supervisor.AttachOptions{In: os.Stdin, Out: os.Stdout, DetachKeys: keys, Skipped: noticeSkipped})
	noticeDetached(inst.Name, result)
	return result.Exit, result.Detached, err
}

// windowSize is the terminal's, or nothing without one.
func windowSize() (rows, cols uint16) {
	terminal, err := console.OpenTerminal(os.Stdin)
	if err != nil {
		return 0, 0
	}
	return terminal.Size()
}

// asProgram makes an exit of pid 1 ours.
func asProgram(exit *supervisor.Exit) error {
	if exit == nil {
		return nil
	}
	return asStatus(exit.Status())
}

func asStatus(code int) error {
	if code == 0 {
		return nil
	}
	return status(code)
}

// ours is an error of firmwared in a command that passes a program's exit status
// on: 125, or 126 and 127 when the program could not be run or found.
func ours(err error) error {
	var usage *usageError
	var code status
	if err == nil || errors.As(err, &usage) || errors.As(err, &code) {
		return err
	}
	say(err)
	var exec *sandbox.ExecError
	if errors.As(err, &exec) {
		return status(exec.Status())
	}
	return status(exitOurs)
}
