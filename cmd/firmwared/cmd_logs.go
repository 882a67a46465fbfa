// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/urfave/cli/v2"
)

func logsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logs",
		Usage:     "print what an instance wrote to its console, byte for byte",
		UsageText: "firmwared logs I [-f]",
		Description: `   firmwared logs box
   firmwared logs -f box                               until it ends`,
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the instance ends"}},
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			args, err := exactly(c, 1)
			if err != nil {
				return err
			}
			m, err := look(c)
			if err != nil {
				return err
			}
			inst, err := m.Instance(args[0])
			if err != nil {
				return err
			}
			return m.Logs(c.Context, inst, os.Stdout, c.Bool("follow"))
		},
	}
}
