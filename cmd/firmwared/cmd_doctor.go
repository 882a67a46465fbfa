// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"

	"github.com/urfave/cli/v2"

	"firmwared/core"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:      "doctor",
		Usage:     "tell whether this machine has what firmwared needs",
		UsageText: "firmwared doctor [--json]",
		Description: `Tries the kernel's features, each hook's requirements, the state directory's file
system and so on, and says what to do about what is missing. Changes nothing.
A warning costs some of what firmwared can do; with a problem it exits 1.

   firmwared doctor
   firmwared doctor --json | jq -r '.[] | select(.status != "ok") | .what'`,
		Flags: []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := exactly(c, 0); err != nil {
				return err
			}
			cfg, broken := loadConfig(c)
			found, err := core.Diagnose(c.Context, cfg, broken, c.String("root"))
			if err != nil {
				return err
			}
			if c.Bool("json") {
				err = printJSON(found)
			} else {
				for _, f := range found {
					text := f.Details
					if f.Advice != "" {
						text += ": " + f.Advice
					}
					fmt.Printf("%-8s %-22s %s\n", f.Status, printable(f.What), printable(text))
				}
			}
			if err == nil && core.Ill(found) {
				return status(exitFailed)
			}
			return err
		},
	}
}
