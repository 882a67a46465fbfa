// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"firmwared/core"
)

func watchCommand() *cli.Command {
	return &cli.Command{
		Name:      "watch",
		Usage:     "remount or restart instances by itself whenever a build changes their firmware directory",
		UsageText: "firmwared watch I... [--restart] [--settle D] [--exec CMD] [--json]",
		Description: `Each time that something in the directory (or that of a base) has changed, and nothing more
for the time of --settle, the instances are remounted, and a line says what came of it. With
--restart those are restarted in which something runs, or is open, that is old; other changes are
seen without. It ends with Ctrl-C, or when none of the instances is left.

--exec runs a shell command of this machine after each, with FIRMWARED_INSTANCE,
FIRMWARED_CHANGED (files), FIRMWARED_RESTARTED and FIRMWARED_NEEDS_RESTART (y or n), and
FIRMWARED_WATCH_ERROR in its environment. --json prints one object a line.

   firmwared watch box --restart
   firmwared watch --all --exec 'notify-send "$FIRMWARED_INSTANCE: $FIRMWARED_CHANGED files"'`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "restart", Usage: "restart those that need it"},
			&cli.DurationFlag{Name: "settle", Value: 200 * time.Millisecond, Usage: "wait until the build has been quiet for `D`"},
			&cli.StringFlag{Name: "exec", Usage: "run shell command `CMD` after each cycle"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, one object a line"},
			allFlag(),
		},
		BashComplete: completeInstances,
		Action:       watch,
	}
}

func watch(c *cli.Context) error {
	if err := checkNamed(c); err != nil {
		return err
	}
	if c.Duration("settle") <= 0 {
		return usagef("--settle must be more than 0")
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	found, err := instances(c, m)
	if err != nil {
		return err
	}
	report := printCycle
	if c.Bool("json") {
		enc := json.NewEncoder(os.Stdout)
		enc.SetEscapeHTML(false)
		report = func(c core.Cycle) { _ = enc.Encode(c) }
	}
	return m.Watch(c.Context, found, core.WatchOptions{
		Restart: c.Bool("restart"), Settle: c.Duration("settle"), Exec: c.String("exec"),
	}, report)
}

// printCycle prints a cycle in one line.
func printCycle(c core.Cycle) {
	var parts []string
	add := func(format string, args ...any) { parts = append(parts, fmt.Sprintf(format, args...)) }
	switch {
	case c.Outdated:
		add("its directory was made anew")
	case c.Checked:
		add("%d files changed", c.Changed)
	}
	if c.Error == "" || c.RemountedMS > 0 {
		add("remounted in %d ms", c.RemountedMS)
	}
	if c.Restarted {
		add("restarted in %d ms", c.RestartedMS)
	}
	line := strings.Join(parts, ", ")
	if c.NeedsStart && !c.Restarted {
		line += fmt.Sprintf("; %d files are old in what runs: firmwared restart %s", len(c.Stale)+len(c.Rewritten), c.Instance)
	}
	if n := len(c.Shadowed); n > 0 {
		line += fmt.Sprintf("; %d hidden by its own: firmwared reset %s %s", n, c.Instance, strings.Join(c.Shadowed, " "))
	}
	if c.Error != "" {
		line = strings.TrimPrefix(line+"; "+c.Error, "; ")
	}
	fmt.Printf("%s %s: %s\n", c.Time.Format(time.TimeOnly), c.Instance, printable(line))
}
