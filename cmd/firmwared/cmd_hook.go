// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/conformance"
)

func hookCommand() *cli.Command {
	return &cli.Command{
		Name:  "hook",
		Usage: "list, explain and test hooks, which do the file-system work",
		Subcommands: []*cli.Command{
			{
				Name:      "test",
				Usage:     "drive every clause of the hook contract against a hook",
				UsageText: "firmwared hook test [PATH|NAME] [SAMPLE] [--option K=V]... [--clause NAME] [--tap|--json]",
				Description: `A word with a slash in it, or one that ends in .hook, is the file of a hook, which
need not be installed; else it is a name. SAMPLE is a firmware that the hook can
mount, a small one: the test copies it into memory. Without it a directory is
made. Without PATH the test tries its own little hook.

It runs in a mount namespace of its own and leaves nothing behind. One line for
each clause: ok, FAIL, warn (a SHOULD that does not hold), or skip with the
reason. Exit status 1 when a clause failed.

   firmwared hook test ./my.hook sample.img
   firmwared hook test mount
   firmwared hook test ./my.hook sample.img --clause unmount-busy
   firmwared hook test ./my.hook sample.img --tap | prove -e cat -`,
				Flags: []cli.Flag{
					&cli.StringSliceFlag{Name: "option", Usage: "give the hook option `K=V`, as firmware add does"},
					&cli.StringFlag{Name: "clause", Usage: "only clause `NAME`"},
					&cli.BoolFlag{Name: "tap", Usage: "print the Test Anything Protocol"},
					jsonFlag(),
				},
				Action: hookTest,
			},
		},
	}
}

// options reads every --option K=V.
func options(c *cli.Context) (map[string]string, error) {
	options := map[string]string{}
	for _, option := range c.StringSlice("option") {
		key, value, ok := strings.Cut(option, "=")
		if !ok || key == "" {
			return nil, usagef("--option %q is not K=V", option)
		}
		options[key] = value
	}
	return options, nil
}

func hookTest(c *cli.Context) error {
	args, program := words(c)
	if len(args) > 2 || program != nil || c.Bool("tap") && c.Bool("json") {
		return usagef("usage: %s", c.Command.UsageText)
	}
	o := core.HookTestOptions{Clause: c.String("clause")}
	for i, to := range []*string{&o.Hook, &o.Sample} {
		if i < len(args) {
			*to = args[i]
		}
	}
	var err error
	if o.Options, err = options(c); err != nil {
		return err
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	all := []conformance.Verdict{}
	begin := func(n int) {
		if c.Bool("tap") {
			fmt.Println(conformance.TAPHead(n))
		}
	}
	err = m.HookTest(c.Context, o, begin, func(v conformance.Verdict) {
		all = append(all, v)
		switch {
		case c.Bool("tap"):
			fmt.Println(v.TAP(len(all)))
		case !c.Bool("json"):
			fmt.Println(v)
		}
	})
	if c.Bool("json") && err == nil {
		err = printJSON(all)
	}
	var usage *conformance.UsageError
	if errors.As(err, &usage) {
		return usagef("%s", usage.Text)
	}
	if err != nil {
		return err
	}
	summary, failed := conformance.Sum(all)
	fmt.Fprintln(os.Stderr, "firmwared: "+summary)
	if failed {
		return status(exitFailed)
	}
	return nil
}
