// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"firmwared/core"
)

func applyCommand() *cli.Command {
	return &cli.Command{
		Name:      "apply",
		Usage:     "change a directory as an instance changed its firmware",
		UsageText: "firmwared apply I [DIR] [--dry-run] [--path P]... [--ignore GLOB]... [--force] [--owner]",
		Description: `DIR is a tree that the firmware was made of; without it, the firmware's own
directory. If a path in it is not as the instance found it, nothing is changed.
What is made belongs to whom the old file or the directory belongs to; changes of
owners and attributes, and set-user-ID bits, are for --owner. Devices, sockets and
pipes are left out. Prints what it changed. An instance that runs goes on; clone it
first if all must be of one moment.

   firmwared apply box --dry-run
   firmwared apply box --path /etc
   firmwared apply box ~/src/rootfs --ignore '/var/**'`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only print what would be changed"},
			&cli.StringSliceFlag{Name: "path", Usage: "only `P` and what is below it"},
			&cli.StringSliceFlag{Name: "ignore", Usage: "leave out what matches `GLOB`, and what is below it; see diff"},
			&cli.BoolFlag{Name: "force", Usage: "also over what was changed in the directory meanwhile"},
			&cli.BoolFlag{Name: "owner", Usage: "owners, set-user-ID bits and extended attributes, too"},
		},
		Action:       apply,
		BashComplete: completeInstances,
	}
}

func apply(c *cli.Context) error {
	args, program := words(c)
	if len(args) < 1 || len(args) > 2 || program != nil {
		return usagef("usage: %s", c.Command.UsageText)
	}
	left := false
	o := core.ApplyOptions{
		DiffOptions: core.DiffOptions{Paths: c.StringSlice("path"), Ignore: c.StringSlice("ignore")},
		DryRun:      c.Bool("dry-run"), Force: c.Bool("force"), Owner: c.Bool("owner"),
		Done: func(change, path string) { fmt.Printf("%-8s %s\n", change, printable(path)) },
		Leave: func(path, why string) {
			left = true
			notice(fmt.Sprintf("not applied: %s: %s", printable(path), why))
		},
		Conflict: func(path, why string) { notice(fmt.Sprintf("conflict: %s: %s", printable(path), why)) },
	}
	if len(args) == 2 {
		o.Dir = args[1]
	}
	m, err := enter(c)
	if err != nil {
		return err
	}
	defer m.Close()
	inst, err := m.Instance(args[0])
	if err == nil {
		err = m.Apply(c.Context, inst, o)
	}
	if err == nil && left {
		return status(exitFailed)
	}
	return err
}
