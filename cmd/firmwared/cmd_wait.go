// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"

	"firmwared/core"
)

func waitCommand() *cli.Command {
	return &cli.Command{
		Name:      "wait",
		Usage:     "wait until instances have ended, or got into a state",
		UsageText: "firmwared wait I... [--state STATE] [--timeout D]",
		Description: `Of one instance it exits as pid 1 did: 128+N for signal N. Of several it prints the
name and the status of each as it ends, and exits as the first of the command line whose status is
not 0. One that has ended already is not waited for. With --state it exits 0 when all have got
there: ready, started, stopping, unmounted or dropped. 125 is an error of its own, such as the timeout.

   firmwared start box && firmwared wait box; echo $?
   firmwared wait --all --timeout 10m
   firmwared wait box --state dropped`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "state", Usage: "wait for `STATE` instead of the end"},
			&cli.DurationFlag{Name: "timeout", Usage: "give up after `D`, as 10s"},
			allFlag(),
		},
		BashComplete: completeInstances,
		Action:       wait,
	}
}

func wait(c *cli.Context) error {
	if err := checkNamed(c); err != nil {
		return err
	}
	o := core.WaitOptions{Timeout: c.Duration("timeout")}
	if text := c.String("state"); text != "" {
		var err error
		if o.State, err = core.ParseState(text); err != nil {
			return usagef("--state %v", err)
		}
	}
	if c.IsSet("timeout") && o.Timeout <= 0 {
		return usagef("--timeout must be more than 0")
	}
	m, err := look(c)
	if err != nil {
		return ours(err)
	}
	found, missing := instances(c, m)
	if missing != nil {
		return ours(missing)
	}
	results := map[string]error{}
	m.Wait(c.Context, found, o, func(w core.Waited) {
		results[w.Instance.ID] = ours(w.Err)
		if w.Err == nil && o.State == "" {
			if w.Code != 0 {
				results[w.Instance.ID] = status(w.Code)
			}
			if len(found) > 1 {
				fmt.Println(w.Instance.Name, w.Code)
			}
		}
	})
	errs := make([]error, 0, len(found))
	for _, inst := range found {
		errs = append(errs, results[inst.ID])
	}
	return errors.Join(errs...) // exitStatus takes the first
}
