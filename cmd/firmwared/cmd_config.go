// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"
)

func configCommand() *cli.Command {
	return &cli.Command{
		Name:        "config",
		Usage:       "show every setting and where it came from",
		UsageText:   "firmwared config [--json]",
		Description: "The output is a configuration file: keys that are missing there have these values.",
		Flags:       []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := exactly(c, 0); err != nil {
				return err
			}
			cfg, err := loadConfig(c)
			if err != nil {
				return err
			}
			type setting struct {
				Key    string `json:"key"`
				Value  string `json:"value"`
				Origin string `json:"origin"`
			}
			var all []setting
			for _, entry := range cfg.Entries() {
				all = append(all, setting(entry))
			}
			if c.Bool("json") {
				return printJSON(all)
			}
			for _, s := range all {
				fmt.Printf("%-40s # %s\n", s.Key+" = "+s.Value, printable(s.Origin))
			}
			return nil
		},
	}
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:      "version",
		Usage:     "show the version",
		UsageText: "firmwared version [--json]",
		Flags:     []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := exactly(c, 0); err != nil {
				return err
			}
			if c.Bool("json") {
				return printJSON(map[string]string{"version": version, "go": runtime.Version(), "hook_api": "1"})
			}
			fmt.Println("firmwared " + version)
			return nil
		},
	}
}
