// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"firmwared/core"
	"firmwared/core/registry"
)

func statsCommand() *cli.Command {
	return &cli.Command{
		Name:      "stats",
		Usage:     "show what instances use: memory, CPU time, processes, disk",
		UsageText: "firmwared stats [I...] [--json] [-f] [--interval D]",
		Description: `Without names all instances are shown. 100 % is one CPU: the average since the
start, and with --follow since the line before. Memory includes the page cache;
~ marks a sum of the processes' resident sets, where the kernel does not count
for the instance (it does on cgroup v2, and on v1 once a limit is set). A - is
what is not known or not so, a > what is too much to be counted at once. With
--follow --json every sample is one line.

   firmwared stats
   firmwared stats -f --interval 1s box
   firmwared stats --json | jq '.[].rw_bytes'`,
		Flags: []cli.Flag{
			jsonFlag(),
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "show again and again, until interrupted or all named are gone"},
			&cli.DurationFlag{Name: "interval", Usage: "how often with --follow, at least 100ms", Value: 2 * time.Second},
		},
		BashComplete: completeInstances,
		Action:       stats,
	}
}

func stats(c *cli.Context) error {
	keys, program := words(c)
	interval := c.Duration("interval")
	switch {
	case program != nil:
		return usagef("usage: %s", c.Command.UsageText)
	case interval < 100*time.Millisecond:
		return usagef("--interval %v is less than 100ms", interval)
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	if _, err := named(m, keys); err != nil {
		return err
	}
	sampler := m.Sampler()
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		found, _ := named(m, keys) // some may be gone by now
		if len(found) == 0 && len(keys) > 0 {
			return nil
		}
		samples := sampler.Sample(c.Context, found)
		if c.Context.Err() != nil {
			return nil
		}
		if err := printStats(c, samples); err != nil || !c.Bool("follow") {
			return err
		}
		select {
		case <-tick.C:
		case <-c.Context.Done():
			return nil
		}
	}
}

// named are the instances of these names, or all.
func named(m *core.Manager, keys []string) ([]*registry.Instance, error) {
	if len(keys) == 0 {
		return m.Instances()
	}
	return lookUp(m, keys)
}

func printStats(c *cli.Context, all []core.Stats) error {
	follow := c.Bool("follow")
	if c.Bool("json") && !follow {
		return printJSON(all)
	}
	if c.Bool("json") {
		enc := json.NewEncoder(os.Stdout)
		for _, s := range all {
			if err := enc.Encode(s); err != nil {
				return err
			}
		}
		return nil
	}
	var rows [][]string
	for _, s := range all {
		rows = append(rows, statsRow(s))
	}
	if follow && term.IsTerminal(int(os.Stdout.Fd())) {
		fmt.Print("\x1b[H\x1b[J") // home, and clear from there on
	}
	return table("NAME STATE MEMORY LIMIT CPU TIME PIDS RW INODES UPTIME", rows)
}

func statsRow(s core.Stats) []string {
	memory, more := "", ""
	if memory = size(s.Memory); s.MemorySource == "processes" {
		memory = "~" + memory
	}
	if s.RWPartial {
		more = ">"
	}
	cpu, pids, inodes := "", pointer(s.Pids), ""
	if s.CPUPercent != nil {
		cpu = fmt.Sprintf("%.1f%%", *s.CPUPercent)
	}
	if s.PidsMax != nil {
		pids += "/" + pointer(s.PidsMax)
	}
	if s.RWInodes != nil {
		inodes = more + pointer(s.RWInodes)
	}
	rw := size(s.RWBytes)
	if rw != "" {
		rw = more + rw
	}
	return []string{s.Name, string(s.State), memory, size(s.MemoryMax), cpu, seconds(s.CPUSeconds), pids, rw, inodes, seconds(s.Uptime)}
}

// size writes bytes for people.
func size(n *int64) string {
	if n == nil {
		return ""
	}
	value, unit := float64(*n), 0
	for value >= 1024 && unit < 5 {
		value /= 1024
		unit++
	}
	if unit == 0 {
		return strconv.FormatInt(*n, 10)
	}
	return fmt.Sprintf("%.1f%c", value, " KMGTP"[unit])
}

func seconds(s *float64) string {
	if s == nil {
		return ""
	}
	d := time.Duration(*s * float64(time.Second))
	if d < time.Minute {
		return d.Round(10 * time.Millisecond).String()
	}
	return d.Round(time.Second).String()
}
