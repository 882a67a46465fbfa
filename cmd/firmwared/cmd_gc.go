// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"firmwared/core"
)

func gcCommand() *cli.Command {
	return &cli.Command{
		Name:      "gc",
		Usage:     "remove what commands that died have left, and say what",
		UsageText: "firmwared gc [--dry-run] [--unused] [--json]",
		Description: `Every command mends what it finds half done; gc looks everywhere. Nothing goes
that an instance, a firmware or a running command still needs, and no file of
a drop --keep.

   firmwared gc --dry-run
   firmwared gc --unused                              unmount firmwares that no instance uses, too`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Aliases: []string{"n"}, Usage: "only show what would go"},
			&cli.BoolFlag{Name: "unused", Usage: "also unmount each firmware that no instance stands on, and remove broken downloads"},
			jsonFlag(),
		},
		Action: gc,
	}
}

func gc(c *cli.Context) error {
	if _, err := exactly(c, 0); err != nil {
		return err
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	defer m.Close()
	o := core.GCOptions{DryRun: c.Bool("dry-run"), Unused: c.Bool("unused")}
	all := []core.Garbage{}
	err = m.GC(c.Context, o, func(it core.Garbage) {
		if c.Bool("json") {
			all = append(all, it)
			return
		}
		word := "removed"
		if o.DryRun {
			word = "would remove"
		}
		fmt.Printf("%s %s: %s\n", word, garbage(it), it.Reason)
	})
	if c.Bool("json") {
		if printErr := printJSON(all); err == nil {
			err = printErr
		}
	}
	return err
}

func garbage(it core.Garbage) string {
	if it.Name == "" {
		return it.Kind + " " + printable(it.Path)
	}
	return fmt.Sprintf("%s %s (%s)", it.Kind, printable(it.Name), printable(it.Path))
}
