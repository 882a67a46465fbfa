// SPDX-License-Identifier: Apache-2.0

//go:build docs

package main

import (
	"os"
	"path/filepath"

	"github.com/urfave/cli/v2"
)

func extraCommands() []*cli.Command {
	return []*cli.Command{{
		Name:      "man",
		Hidden:    true,
		UsageText: "firmwared man DIR",
		Action: func(c *cli.Context) error {
			args, err := exactly(c, 1)
			if err != nil {
				return err
			}
			page, err := c.App.ToManWithSection(1)
			if err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(args[0], "firmwared.1"), []byte(page), 0o644)
		},
	}}
}
