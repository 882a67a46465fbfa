// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"

	"github.com/urfave/cli/v2"
)

func profileCommand() *cli.Command {
	return &cli.Command{
		Name:  "profile",
		Usage: "show AppArmor profiles",
		Subcommands: []*cli.Command{{
			Name:      "show",
			Usage:     "print the AppArmor profile of an instance",
			UsageText: "firmwared profile show I",
			Description: `The profile as it was loaded for the run under way or the last one; before the
first, as it would be. A template NAME.profile in one of profile_dirs becomes an
instance's by its property profile:

   firmwared set box profile=strict
   firmwared profile show box`,
			BashComplete: completeInstances,
			Action:       showProfile,
		}},
	}
}

func showProfile(c *cli.Context) error {
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
	text, err := m.ProfileText(inst)
	if err != nil {
		return err
	}
	_, err = os.Stdout.WriteString(text)
	return err
}
