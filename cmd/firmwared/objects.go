// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/registry"
)

func allFlag() cli.Flag {
	return &cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "all instances"}
}

func jsonFlag() cli.Flag {
	return &cli.BoolFlag{Name: "json", Usage: "print JSON"}
}

// words are a command's arguments up to a --, and program those behind it.
func words(c *cli.Context) (words, program []string) {
	args := c.Args().Slice()
	for i, arg := range args {
		if arg == "--" {
			return args[:i], args[i+1:]
		}
	}
	return args, nil
}

// exactly checks how many words a command got.
func exactly(c *cli.Context, n int) ([]string, error) {
	got, program := words(c)
	if len(got) != n || program != nil {
		return nil, usagef("usage: %s", c.Command.UsageText)
	}
	return got, nil
}

// checkNamed refuses a command that names no instances, or too many ways.
func checkNamed(c *cli.Context) error {
	keys, _ := words(c)
	return checkKeys(c, keys)
}

func checkKeys(c *cli.Context, keys []string) error {
	switch all := c.Bool("all"); {
	case all && len(keys) > 0:
		return usagef("give names or --all, not both")
	case !all && len(keys) == 0:
		return usagef("usage: %s", c.Command.UsageText)
	}
	return nil
}

// instances finds those that a command names. Those that it cannot find are in
// the error, beside the others.
func instances(c *cli.Context, m *core.Manager) ([]*registry.Instance, error) {
	keys, _ := words(c)
	return instancesOf(c, m, keys)
}

// instancesOf is instances where not every word is a name.
func instancesOf(c *cli.Context, m *core.Manager, keys []string) ([]*registry.Instance, error) {
	if err := checkKeys(c, keys); err != nil {
		return nil, err
	}
	if c.Bool("all") {
		all, err := m.Instances()
		if err != nil {
			notice("warning: " + err.Error())
		}
		return all, nil
	}
	return lookUp(m, keys)
}

// lookUp looks for instances by name or id. Those that are not there are in the error,
// beside the others.
func lookUp(m *core.Manager, keys []string) (found []*registry.Instance, err error) {
	var errs []error
	for _, key := range keys {
		inst, err := m.Instance(key)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		found = append(found, inst)
	}
	return found, errors.Join(errs...)
}
