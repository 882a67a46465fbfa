// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/conformance"
	"firmwared/core/hook"
)

func hookCommand() *cli.Command {
	return &cli.Command{
		Name:  "hook",
		Usage: "list, explain and test hooks, which do the file-system work",
		Subcommands: []*cli.Command{
			{
				Name:      "list",
				Aliases:   []string{"ls"},
				Usage:     "list the hooks, also those that cannot be used",
				UsageText: "firmwared hook list [--json]",
				Description: `State ok, refused (the file or a directory above it can be changed by others than
root), broken (describe does not work) or masked (it leads to /dev/null).`,
				Flags:  []cli.Flag{jsonFlag()},
				Action: hookList,
			},
			{
				Name:         "show",
				Usage:        "show what a hook says of itself, and its time limits",
				UsageText:    "firmwared hook show NAME [--json]",
				Flags:        []cli.Flag{jsonFlag()},
				Action:       hookShow,
				BashComplete: completeHooks,
			},
			{
				Name:      "env",
				Usage:     "print the environment that a hook would get",
				UsageText: "firmwared hook env NAME ACTION [LAYER] [FIRMWARE|INSTANCE] [--export|--json]",
				Description: `ACTION is describe, probe, mount, remount, unmount, pack, fetch, unpack or verify,
or create, configure or clean. LAYER is lower, union or net; it can be left out
where the hook has only one. For a firmware (probe, lower) or an instance that is
mounted (union) or started (net) the values are its own, else they are made up.
The FIRMWARED_X_ variable is another one each time and means nothing.

   firmwared hook env mount mount union
   firmwared hook env mount probe fw
   firmwared hook env net configure box
   ( eval "$(firmwared hook env mount unmount box --export)"; sh -x ./my.hook )`,
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "export", Usage: "print commands for a shell"},
					jsonFlag(),
				},
				Action:       hookEnv,
				BashComplete: completeHooks,
			},
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
				Action:       hookTest,
				BashComplete: completeHooks,
			},
		},
	}
}

func hookList(c *cli.Context) error {
	if _, err := exactly(c, 0); err != nil {
		return err
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	infos, broken := m.Hooks(c.Context)
	if c.Bool("json") {
		return errors.Join(printJSON(infos), broken)
	}
	var rows [][]string
	for _, i := range infos {
		text := i.Summary
		if i.State != "ok" {
			text = i.Problem
		}
		rows = append(rows, []string{i.Name, i.State, strings.Join(i.Layers, ","), i.Path, text})
	}
	return errors.Join(table("NAME STATE LAYERS PATH SUMMARY", rows), broken)
}

func hookShow(c *cli.Context) error {
	args, err := exactly(c, 1)
	if err != nil {
		return err
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	i, err := m.ShowHook(c.Context, args[0])
	if err != nil {
		return err
	}
	if c.Bool("json") {
		return printJSON(i)
	}
	field("name", i.Name)
	field("path", i.Path)
	field("hides", strings.Join(i.Hides, " "))
	field("state", i.State)
	field("problem", i.Problem)
	field("layers", strings.Join(i.Layers, " "))
	field("summary", i.Summary)
	field("formats", strings.Join(i.Formats, " "))
	field("requires", strings.Join(i.Requires, " "))
	field("options", strings.Join(i.Options, " "))
	field("magic", strings.Join(i.Magic, " "))
	field("directory", i.Directory)
	field("remount", i.Remount)
	field("pack", i.Pack)
	field("daemon", i.Daemon)
	field("unmount", i.Unmount)
	field("schemes", strings.Join(i.Schemes, " "))
	var limits []string
	for _, action := range slices.Sorted(maps.Keys(i.Limits)) {
		limits = append(limits, fmt.Sprintf("%s %vs", action, i.Limits[action]))
	}
	field("timeouts", strings.Join(limits, ", "))
	return nil
}

func hookEnv(c *cli.Context) error {
	args, program := words(c)
	if len(args) < 2 || len(args) > 4 || program != nil || c.Bool("export") && c.Bool("json") {
		return usagef("usage: %s", c.Command.UsageText)
	}
	layer, object := "", ""
	rest := args[2:]
	if len(rest) > 0 && (len(rest) == 2 || slices.Contains([]string{hook.LayerLower, hook.LayerUnion, hook.LayerNet}, rest[0])) {
		layer, rest = rest[0], rest[1:]
	}
	if len(rest) > 0 {
		object = rest[0]
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	env, err := m.HookEnv(c.Context, args[0], args[1], layer, object)
	if err != nil {
		return err
	}
	if c.Bool("json") {
		values := map[string]string{}
		for _, entry := range env {
			name, value, _ := strings.Cut(entry, "=")
			values[name] = value
		}
		return printJSON(values)
	}
	for _, entry := range env {
		if name, value, _ := strings.Cut(entry, "="); c.Bool("export") {
			entry = fmt.Sprintf("export %s='%s'", name, strings.ReplaceAll(value, "'", `'\''`))
		}
		fmt.Println(entry)
	}
	return nil
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
