// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"firmwared/core"
)

func setFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "set", Usage: "set property `K=V`; see firmwared set --help"}
}

func prepareCommand() *cli.Command {
	return &cli.Command{
		Name:      "prepare",
		Usage:     "make instances of a firmware, mounted and ready; prints their ids",
		UsageText: "firmwared prepare F [--name N] [--count N] [--union HOOK] [--set K=V]... [--jobs N]",
		Description: `Several are made at once. Ctrl-C leaves those that are ready.

   firmwared prepare fw --name box --set cmdline='/sbin/init -v'
   firmwared prepare fw --count 20`,
		Flags: manyFlags(
			&cli.StringFlag{Name: "name", Usage: "name it `N` (default: one is made up)"},
			&cli.IntFlag{Name: "count", Value: 1, Usage: "make `N` of them"},
			&cli.StringFlag{Name: "union", Usage: "have hook `HOOK` make the union (default: the configured one)"},
			setFlag(),
		),
		Action:       prepare,
		BashComplete: completeFirmwares,
	}
}

func prepare(c *cli.Context) error {
	args, err := exactly(c, 1)
	if err != nil {
		return err
	}
	if c.Int("count") < 1 {
		return usagef("--count must be at least 1")
	}
	m, err := enter(c)
	if err != nil {
		return err
	}
	defer m.Close()
	fw, err := m.Firmware(args[0])
	if err != nil {
		return err
	}
	show, end := showMany(c, c.Int("count"))
	made, err := m.Prepare(c.Context, fw, core.PrepareOptions{
		Name: c.String("name"), Count: c.Int("count"), Union: c.String("union"), Set: c.StringSlice("set"), Progress: show,
	})
	end()
	for _, inst := range made {
		fmt.Println(inst.ID)
	}
	return err
}
