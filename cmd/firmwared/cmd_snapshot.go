// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/registry"
)

func snapshotCommand() *cli.Command {
	return &cli.Command{
		Name:      "snapshot",
		Usage:     "keep what an instance has written so far, for rollback; prints the snapshot's name",
		UsageText: "firmwared snapshot I [NAME]\n   firmwared snapshot I --list [--json]\n   firmwared snapshot I --remove NAME",
		Description: `A snapshot is a copy of the rw layer; where the file system of the state directory
can share blocks (btrfs, xfs), it costs next to nothing. A running instance is frozen
while it is made. Without NAME it is named by the time. Snapshots go with the instance
(drop) and are no part of it: reset leaves them.

   firmwared snapshot box clean
   firmwared snapshot box --list
   firmwared rollback box clean
   firmwared snapshot box --remove clean`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "list", Usage: "list the instance's snapshots"},
			&cli.StringFlag{Name: "remove", Usage: "remove snapshot `NAME`"},
			jsonFlag(),
		},
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			args, program := words(c)
			list, remove := c.Bool("list"), c.String("remove")
			if program != nil || len(args) < 1 || len(args) > 2 || len(args) > 1 && (list || c.IsSet("remove")) ||
				list && c.IsSet("remove") || c.Bool("json") && !list {
				return usagef("usage: %s", strings.ReplaceAll(c.Command.UsageText, "\n  ", ";"))
			}
			switch {
			case list:
				return listSnapshots(c, args[0])
			case c.IsSet("remove"):
				return onOne(c, args[0], func(m *core.Manager, inst *registry.Instance) error {
					return m.RemoveSnapshot(c.Context, inst, remove)
				})
			}
			return onOne(c, args[0], func(m *core.Manager, inst *registry.Instance) error {
				s, err := m.Snapshot(c.Context, inst, strings.Join(args[1:], ""))
				if err == nil {
					fmt.Println(s.Name)
				}
				return err
			})
		},
	}
}

func listSnapshots(c *cli.Context, key string) error {
	m, err := look(c)
	if err != nil {
		return err
	}
	inst, err := m.Instance(key)
	if err != nil {
		return err
	}
	all, broken := m.Snapshots(inst)
	if c.Bool("json") {
		return errors.Join(printJSON(all), broken)
	}
	var rows [][]string
	for _, s := range all {
		rows = append(rows, []string{s.Name, s.Created.Format(time.RFC3339), string(s.State), size(&s.Bytes), fmt.Sprint(s.Inodes)})
	}
	return errors.Join(table("NAME CREATED STATE SIZE INODES", rows), broken)
}

func rollbackCommand() *cli.Command {
	return &cli.Command{
		Name:      "rollback",
		Usage:     "give an instance what it had written at a snapshot; what came later is gone",
		UsageText: "firmwared rollback I NAME [--restart]",
		Description: `The rw layer is replaced in one step: whatever dies meanwhile, it is the old one
or the new one. The snapshot stays. An instance that runs must be killed first.

   firmwared rollback box clean
   firmwared rollback box clean --restart`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "restart", Usage: "kill it first if it runs, and start it again as it was"},
		},
		BashComplete: completeSnapshots,
		Action: func(c *cli.Context) error {
			args, err := exactly(c, 2)
			if err != nil {
				return err
			}
			return onOne(c, args[0], func(m *core.Manager, inst *registry.Instance) error {
				return m.Rollback(c.Context, inst, args[1], c.Bool("restart"))
			})
		},
	}
}

// completeSnapshots prints names of instances, then those of the snapshots of the one that is named.
func completeSnapshots(c *cli.Context) {
	if c.NArg() == 0 {
		completeInstances(c)
		return
	}
	complete(c, func(m *core.Manager) {
		inst, err := m.Instance(c.Args().First())
		if err != nil {
			return
		}
		all, _ := m.Snapshots(inst)
		for _, s := range all {
			fmt.Fprintln(os.Stdout, s.Name)
		}
	})
}

func cloneCommand() *cli.Command {
	return &cli.Command{
		Name:      "clone",
		Usage:     "make an instance that is as another one is now; prints its id",
		UsageText: "firmwared clone I [--name N]",
		Description: `The same firmware in the same generation, a copy of what the other one wrote, and its
properties. It is not started. A running instance is frozen while its files are copied.

   firmwared clone box --name twin
   firmwared start twin`,
		Flags:        []cli.Flag{&cli.StringFlag{Name: "name", Usage: "name it `N` (default: one is made up)"}},
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			args, err := exactly(c, 1)
			if err != nil {
				return err
			}
			return onOne(c, args[0], func(m *core.Manager, inst *registry.Instance) error {
				made, err := m.Clone(c.Context, inst, c.String("name"))
				if err == nil {
					fmt.Println(made.ID)
				}
				return err
			})
		},
	}
}

// onOne enters the root and does something with the instance that a command names.
func onOne(c *cli.Context, key string, do func(*core.Manager, *registry.Instance) error) error {
	m, err := enter(c)
	if err != nil {
		return err
	}
	defer m.Close()
	inst, err := m.Instance(key)
	if err != nil {
		return err
	}
	return do(m, inst)
}
