// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"firmwared/core"
)

func logsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "print what an instance wrote to its console, byte for byte",
		UsageText: "firmwared logs I [-f] [--since T] [--tail N] [--timestamps]",
		Description: `A log has the output of all runs. When it reaches log_max, a property and a
setting, the oldest part is dropped; how much that was is told on stderr.

   firmwared logs box
   firmwared logs -f box                               until it ends
   firmwared logs --since 10m --timestamps box
   firmwared logs --since '2026-11-23 12:00' box
   firmwared logs --tail 20 -f box                     the last lines, and what comes`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the instance ends"},
			&cli.StringFlag{Name: "since", Usage: "begin at `T`: how long ago, as 10m, a date, or @ and seconds since 1970"},
			&cli.IntFlag{Name: "tail", Aliases: []string{"n"}, Usage: "show no more than the last `N` lines", Value: -1, DefaultText: "all"},
			&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "put before each line when it was begun"},
		},
		BashComplete: completeInstances,
		Action:       logs,
	}
}

func logs(c *cli.Context) error {
	args, err := exactly(c, 1)
	if err != nil {
		return err
	}
	o := core.LogOptions{Follow: c.Bool("follow"), Tail: c.Int("tail"), Timestamps: c.Bool("timestamps")}
	if c.IsSet("tail") && o.Tail < 0 {
		return usagef("--tail %d is no number of lines", o.Tail)
	}
	if c.IsSet("since") {
		if o.Since, err = core.ParseTime(c.String("since"), time.Now()); err != nil {
			return usagef("--since: %v", err)
		}
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	inst, err := m.Instance(args[0])
	if err != nil {
		return err
	}
	return m.Logs(c.Context, inst, os.Stdout, o)
}
