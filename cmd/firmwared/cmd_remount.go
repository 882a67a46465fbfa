// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/registry"
)

func remountCommand() *cli.Command {
	return &cli.Command{
		Name:      "remount",
		Usage:     "make instances see what changed in their firmware directory, and tell what they still do not",
		UsageText: "firmwared remount I... [--json] [--jobs N]",
		Description: `An instance that is not running gets a fresh view. A running one sees new files,
but what a process holds open stays for everybody in it, and its own copy of a
file hides the firmware's. Such paths are listed, and the exit status is 1.

   firmwared remount box
   firmwared remount box || firmwared restart box`,
		Flags:        manyFlags(allFlag(), jsonFlag()),
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			all := []core.Remounted{}
			err := onInstances(c, func(m *core.Manager, inst *registry.Instance) (result, error) {
				r, err := m.Remount(c.Context, inst)
				if err != nil {
					return nil, err
				}
				return func() {
					if all = append(all, r); !c.Bool("json") {
						printRemounted(r)
					}
				}, notFresh(r)
			})
			if c.Bool("json") {
				err = errors.Join(printJSON(all), err)
			}
			return err
		},
	}
}

func printRemounted(r core.Remounted) {
	if r.Fresh() && r.Checked {
		fmt.Printf("%s: %d files changed below, all of it is seen\n", r.Instance, r.Changed)
	}
	for _, stale := range r.Stale {
		by := ""
		if len(stale.PIDs) > 0 {
			by = " (held by pid " + strings.Trim(strings.ReplaceAll(fmt.Sprint(stale.PIDs), " ", ", "), "[]") + ")"
		}
		fmt.Printf("%s: stale     %s%s\n", r.Instance, printable(stale.Path), by)
	}
	for _, path := range r.Shadowed {
		fmt.Printf("%s: shadowed  %s\n", r.Instance, printable(path))
	}
}

// notFresh is the error of an instance that does not see everything.
func notFresh(r core.Remounted) error {
	switch {
	case r.Outdated:
		return fmt.Errorf("instance %s still stands on the old firmware directory, which was deleted and made anew: restart it to see the new one", r.Instance)
	case !r.Fresh():
		return fmt.Errorf("instance %s does not see everything that changed (%d stale, %d hidden by its own files): firmwared %s",
			r.Instance, len(r.Stale), len(r.Shadowed), printable(strings.Join(r.Advice, "; firmwared ")))
	}
	return nil
}
