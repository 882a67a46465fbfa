// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/registry"
)

func resetCommand() *cli.Command {
	return &cli.Command{
		Name:      "reset",
		Usage:     "make instances as their firmware is: what they wrote is gone",
		UsageText: "firmwared reset I... [PATH...] [--restart] [--jobs N]",
		Description: `A word that begins with a slash is a path inside: only those, and what is below
them, are reset then. An instance that runs must be killed first.

   firmwared reset box
   firmwared reset box /etc/motd /var/lib
   firmwared reset --all --restart`,
		Flags: manyFlags(
			&cli.BoolFlag{Name: "restart", Usage: "kill those that run first, and start them again as they were"},
			allFlag(),
		),
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			o := core.ResetOptions{Restart: c.Bool("restart")}
			keys, program := words(c)
			var names []string
			for _, word := range keys {
				if strings.HasPrefix(word, "/") {
					o.Paths = append(o.Paths, word)
				} else {
					names = append(names, word)
				}
			}
			if program != nil {
				return usagef("usage: %s", c.Command.UsageText)
			}
			return onNamed(c, names, func(m *core.Manager, inst *registry.Instance) (result, error) {
				return nil, m.Reset(c.Context, inst, o)
			})
		},
	}
}
