// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/supervisor"
)

func execCommand() *cli.Command {
	return &cli.Command{
		Name:      "exec",
		Usage:     "run a command in a started instance, and exit as it does",
		UsageText: "firmwared exec I [-t] [--user U[:G]] [--env NAME=VALUE] [--cwd D] -- CMD ARG...",
		Description: `The command runs beside pid 1, in the same namespaces and cgroup and with the same
confinement. It is killed when the instance or this command ends; what it left
in the background stays. The third Ctrl-C kills one that ignores it, and so do
the detach keys with -t.

   firmwared exec box -- ps
   firmwared exec box -t -- /bin/sh
   firmwared exec box --user nobody --cwd /tmp -- id
   tar c . | firmwared exec box --cwd /data -- tar x`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "tty", Aliases: []string{"t"}, Usage: "give it a terminal of the instance's own"},
			&cli.StringFlag{Name: "user", Aliases: []string{"u"}, Usage: "run as `U[:G]`, the firmware's own names or numbers (default: root)"},
			&cli.StringSliceFlag{Name: "env", Aliases: []string{"e"}, Usage: "set `NAME=VALUE` besides the property env"},
			&cli.StringFlag{Name: "cwd", Usage: "run in directory `D` of the instance (default: /)"},
		},
		Action:       execIn,
		BashComplete: completeInstances,
	}
}

func execIn(c *cli.Context) error {
	keys, program := words(c)
	if len(keys) != 1 || len(program) == 0 {
		if len(keys) > 1 && program == nil {
			return usagef("put -- before the command: firmwared exec %s -- %s ...", keys[0], keys[1])
		}
		return usagef("usage: %s", c.Command.UsageText)
	}
	o, err := execOptions(c, program)
	if err != nil {
		return err
	}
	detachKeys, _, err := detachKeys(c)
	if err != nil {
		return err
	}
	m, err := look(c)
	if err != nil {
		return ours(err)
	}
	inst, err := m.Instance(keys[0])
	if err != nil {
		return ours(err)
	}
	streams := supervisor.ExecOptions{In: os.Stdin, Out: os.Stdout, Err: os.Stderr, DetachKeys: detachKeys}
	forward := catchSignals()
	command, err := m.Exec(c.Context, inst, o, streams)
	if err != nil {
		return ours(err)
	}
	go forward(command.Signal)
	exit := command.Wait()
	switch {
	case exit.InstanceEnded:
		notice(fmt.Sprintf("instance %s ended, and the command with it", inst.Name))
	case exit.Abandoned:
		notice(fmt.Sprintf("the command in instance %s was killed and has not ended yet; is the instance frozen?", inst.Name))
	}
	return asStatus(exit.Status())
}

func execOptions(c *cli.Context, program []string) (o core.ExecOptions, err error) {
	o = core.ExecOptions{
		Args: program, Env: c.StringSlice("env"), Cwd: c.String("cwd"), User: c.String("user"), Terminal: c.Bool("tty"),
	}
	if o.Terminal {
		o.Rows, o.Cols = windowSize()
		if term := os.Getenv("TERM"); term != "" {
			o.Env = append([]string{"TERM=" + term}, o.Env...)
		}
	}
	if err := checkEnv(o.Env); err != nil {
		return o, err
	}
	if o.Cwd != "" && !strings.HasPrefix(o.Cwd, "/") {
		return o, usagef("--cwd %q is not an absolute path", o.Cwd)
	}
	return o, nil
}
