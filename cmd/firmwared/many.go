// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"slices"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/registry"
)

// maxJobs is what the setting jobs allows, too.
const maxJobs = 1024

// manyFlags are those of commands that work on several instances at once.
func manyFlags(more ...cli.Flag) []cli.Flag {
	return slices.Concat(more, []cli.Flag{
		&cli.IntFlag{
			Name: "jobs", Aliases: []string{"j"}, Usage: "work on `N` instances at once (default: the setting jobs, which is the number of processors)",
			Action: func(_ *cli.Context, n int) error {
				if n < 0 || n > maxJobs {
					return usagef("--jobs must be between 0, the number of processors, and %d", maxJobs)
				}
				return nil
			},
		},
		&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "no progress bar"},
	})
}

// showMany shows on a terminal how far a command on several objects is.
func showMany(c *cli.Context, total int) (show func(done, total int64), end func()) {
	if total < 2 || c.Bool("quiet") || c.Bool("json") {
		return nil, func() {}
	}
	return steps(c.Command.Name)
}

// result prints what came of one instance; nil when there is nothing to print.
type result func()

// onInstances enters the root and does something with every instance that a
// command names, several at once. What is to be printed of each is printed in the
// end, in the order in which they were named.
func onInstances(c *cli.Context, do func(*core.Manager, *registry.Instance) (result, error)) error {
	keys, _ := words(c)
	return onNamed(c, keys, do)
}

// onNamed is onInstances where not every word is a name.
func onNamed(c *cli.Context, keys []string, do func(*core.Manager, *registry.Instance) (result, error)) error {
	if err := checkKeys(c, keys); err != nil {
		return err
	}
	m, err := enter(c)
	if err != nil {
		return err
	}
	defer m.Close()
	found, missing := instancesOf(c, m, keys)
	results := make([]result, len(found))
	show, end := showMany(c, len(found))
	err = m.Each(c.Context, found, show, func(i int, inst *registry.Instance) (err error) {
		results[i], err = do(m, inst)
		return err
	})
	end()
	for _, print := range results {
		if print != nil {
			print()
		}
	}
	return errors.Join(missing, err)
}
