// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/registry"
)

func listCommand() *cli.Command {
	return &cli.Command{
		Name:      "list",
		Aliases:   []string{"ls"},
		Usage:     "list instances",
		UsageText: "firmwared list [--json]",
		Flags:     []cli.Flag{jsonFlag()},
		Action: func(c *cli.Context) error {
			if _, err := exactly(c, 0); err != nil {
				return err
			}
			m, err := look(c)
			if err != nil {
				return err
			}
			if c.Bool("json") {
				infos, broken := m.List()
				return errors.Join(printJSON(infos), broken)
			}
			infos, broken := m.ListBrief()
			var rows [][]string
			for _, i := range infos {
				rows = append(rows, []string{i.ID, i.Name, string(i.State), i.Firmware, pointer(i.PID), pointer(i.ExitCode)})
			}
			return errors.Join(table("ID NAME STATE FIRMWARE PID EXIT", rows), broken)
		},
	}
}

func walls(i core.InstanceInfo) string {
	text := i.Walls
	if i.Profile != "" {
		text += ", profile " + i.Profile
	}
	if i.FirstID != nil {
		text += fmt.Sprintf(", root is id %d", *i.FirstID)
	}
	return text
}

// joinWords writes a property's value so that `set` reads it again.
func joinWords(list bool, words []string) string {
	text := strings.Join(words, " ")
	if !list || slices.Equal(strings.Fields(text), words) {
		return text
	}
	array, _ := json.Marshal(words)
	return string(array)
}

func getCommand() *cli.Command {
	return &cli.Command{
		Name:         "get",
		Usage:        "print one property of an instance",
		UsageText:    "firmwared get I KEY [--json]",
		Description:  "   firmwared get box pid",
		Flags:        []cli.Flag{jsonFlag()},
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			args, err := exactly(c, 2)
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
			value, err := m.Get(inst, args[1])
			switch {
			case err != nil:
				return err
			case c.Bool("json"):
				return printJSON(append([]string{}, value...))
			}
			fmt.Println(joinWords(core.IsList(args[1]), value))
			return nil
		},
	}
}

func setCommand() *cli.Command {
	var known strings.Builder
	for _, p := range core.Properties() {
		fmt.Fprintf(&known, "   %-13s %s\n", p.Name, p.Doc)
	}
	return &cli.Command{
		Name:      "set",
		Usage:     "set properties of an instance",
		UsageText: "firmwared set I KEY=VALUE...",
		Description: `They take effect at the next start, limits (memory_max, cpu_max, pids_max) of a
running instance at once; an empty VALUE unsets. A list is written as words, or
as a JSON array when words hold spaces. A key that is not known is kept as the
user's own.

` + known.String() + `
   firmwared set box cmdline='/sbin/init -v' ticket=4711
   firmwared set box env='["GREETING=hello world"]'`,
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			args, program := words(c)
			if len(args) < 2 || program != nil {
				return usagef("usage: %s", c.Command.UsageText)
			}
			for _, word := range args[1:] {
				if !strings.Contains(word, "=") {
					return usagef("%q is no property: write KEY=VALUE", word)
				}
			}
			m, err := enter(c)
			if err != nil {
				return err
			}
			defer m.Close()
			var inst *registry.Instance
			if inst, err = m.Instance(args[0]); err != nil {
				return err
			}
			return m.Set(c.Context, inst, args[1:])
		},
	}
}
