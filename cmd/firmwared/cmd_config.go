// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"

	"github.com/urfave/cli/v2"

	"firmwared/core"
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
		Description: `Warns when firmwared-supervise, which each started instance runs under, is not
of the same build or cannot be used.

   firmwared version --json | jq -r .supervise        where it is`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := exactly(c, 0); err != nil {
				return err
			}
			small, problem := core.SmallProgram(c.Context)
			if c.Bool("json") {
				about := map[string]string{"version": version, "go": runtime.Version(), "hook_api": "1", "supervise": small}
				if problem != nil {
					about["supervise_problem"] = problem.Error()
				}
				return printJSON(about)
			}
			fmt.Println("firmwared " + version)
			if problem != nil {
				notice("warning: " + problem.Error())
			}
			return nil
		},
	}
}
