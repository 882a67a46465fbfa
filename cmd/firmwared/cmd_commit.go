// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/registry"
)

func commitCommand() *cli.Command {
	return &cli.Command{
		Name:      "commit",
		Usage:     "make a firmware of an instance; prints its id",
		UsageText: "firmwared commit I --name N [--flatten HOOK FILE]",
		Description: `The new firmware holds what the instance changed and stands on the old one; the
program keeps it, and removes it with the firmware. With --flatten it is all of
the tree, in a FILE of your own that hook HOOK makes (one whose hook show says
pack: true), or in a directory if HOOK is the word directory. The instance stays
as it is; it must not run.

   firmwared commit box --name fixed
   firmwared commit box --name fixed --flatten HOOK fixed.img
   firmwared commit box --name fixed --flatten directory ./fixed`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "name", Usage: "name it `N` (default: one is made up)"},
			&cli.StringFlag{Name: "flatten", Usage: "have hook `HOOK` make an image of the whole tree"},
		},
		Action:       commit,
		BashComplete: completeInstances,
	}
}

func commit(c *cli.Context) error {
	words := 1
	if c.IsSet("flatten") {
		words = 2
	}
	args, err := exactly(c, words)
	if err != nil {
		return err
	}
	m, err := enter(c)
	if err != nil {
		return err
	}
	defer m.Close()
	inst, err := m.Instance(args[0])
	if err != nil {
		return err
	}
	var fw *registry.Firmware
	if words == 1 {
		fw, err = m.Commit(c.Context, inst, c.String("name"))
	} else {
		fw, err = flatten(c, m, inst, args[1])
	}
	if err == nil {
		fmt.Println(fw.ID)
	}
	return err
}

func flatten(c *cli.Context, m *core.Manager, inst *registry.Instance, file string) (*registry.Firmware, error) {
	show, end := steps("pack")
	defer end()
	return m.Flatten(c.Context, inst, c.String("name"), c.String("flatten"), file, show)
}
