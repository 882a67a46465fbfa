// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"time"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/registry"
)

func killFlags() []cli.Flag {
	return manyFlags(
		&cli.StringFlag{Name: "signal", Aliases: []string{"s"}, Usage: "send `S` to pid 1 first and let it end by itself (default: the property stop_signal, else it is killed at once)"},
		&cli.DurationFlag{Name: "timeout", Usage: "how long it may take, as 10s", Value: 10 * time.Second},
		allFlag(),
	)
}

func killOptions(c *cli.Context) (o core.KillOptions, err error) {
	if c.IsSet("signal") {
		if o.Signal, err = core.ParseSignal(c.String("signal")); err != nil {
			return o, usagef("--signal: %v", err)
		}
	}
	o.Timeout = c.Duration("timeout")
	return o, nil
}

func killCommand() *cli.Command {
	return &cli.Command{
		Name:      "kill",
		Usage:     "end all processes of instances; what they wrote is kept",
		UsageText: "firmwared kill I... [--signal S] [--timeout D] [--jobs N]",
		Description: `Killing an instance that is not running is no error.

   firmwared kill box
   firmwared kill box --signal TERM --timeout 30s      let it shut down first`,
		Flags:        killFlags(),
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			o, err := killOptions(c)
			if err != nil {
				return err
			}
			return onInstances(c, func(m *core.Manager, inst *registry.Instance) (result, error) {
				ran, err := m.Kill(c.Context, inst, o)
				if err != nil || ran {
					return nil, err
				}
				return func() { notice(fmt.Sprintf("instance %s was not running", inst.Name)) }, nil
			})
		},
	}
}

func restartCommand() *cli.Command {
	return &cli.Command{
		Name:      "restart",
		Usage:     "kill, show the firmware as it is now, and start again",
		UsageText: "firmwared restart I... [--signal S] [--timeout D] [--jobs N]",
		Description: `It starts with the options of the last start. What the instance wrote is kept.

   firmwared restart --all`,
		Flags:        killFlags(),
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			o, err := killOptions(c)
			if err != nil {
				return err
			}
			return onInstances(c, func(m *core.Manager, inst *registry.Instance) (result, error) {
				return nil, m.Restart(c.Context, inst, o)
			})
		},
	}
}

func dropCommand() *cli.Command {
	return &cli.Command{
		Name:      "drop",
		Aliases:   []string{"rm"},
		Usage:     "unmount and remove instances, with all they wrote and their snapshots",
		UsageText: "firmwared drop I... [--force] [--keep] [--jobs N]",
		Description: `   firmwared drop box
   firmwared drop --force --all                        kill those that run first`,
		Flags: manyFlags(
			&cli.BoolFlag{Name: "force", Aliases: []string{"f"}, Usage: "kill it first if it runs"},
			&cli.BoolFlag{Name: "keep", Usage: "leave the files of the rw layer; prints where they are"},
			allFlag(),
		),
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			o := core.DropOptions{Force: c.Bool("force"), Keep: c.Bool("keep")}
			return onInstances(c, func(m *core.Manager, inst *registry.Instance) (result, error) {
				kept, err := m.Drop(c.Context, inst, o)
				if err != nil || kept == "" {
					return nil, err
				}
				return func() { fmt.Println(kept) }, nil
			})
		},
	}
}
