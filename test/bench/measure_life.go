// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const tickLimit = 10 * time.Second

// cycle is the instance of one round of measureCycle.
type cycle struct {
	b               *bench
	name, workspace string
	first           sample // of the start, until pid 1's first instruction
}

func (c *cycle) ours(args ...string) sample { return c.b.timed(c.b.fw("main", args...)) }

func (c *cycle) start() sample { return c.ours("start", c.name, "--", "/bin/tick", "/tick") }

func (c *cycle) prepare() sample {
	s := c.ours("prepare", "directory", "--name", c.name)
	if s.err == nil {
		c.workspace, s.err = c.b.run(c.b.fw("main", "get", c.name, "workspace")...)
	}
	return s
}

// startFirst is timed until the command's end; when the payload began is kept.
func (c *cycle) startFirst() sample {
	began := clock()
	s := c.start()
	if s.err == nil {
		c.first = s
		c.first.value, s.err = tickedAt(filepath.Join(c.workspace, "rw/tick"), began)
	}
	return s
}

// measureCycle: prepare, start, remount, kill and drop, one after the other on
// one instance a round.
func (b *bench) measureCycle() error {
	var c cycle
	steps := []struct {
		what string
		turn func() sample
	}{
		{"prepare", func() sample { return c.prepare() }},
		{"start", func() sample { return c.startFirst() }},
		{"start to pid 1's first instruction", func() sample { return c.first }},
		{"remount, running", func() sample { return c.ours("remount", c.name) }},
		{"kill", func() sample { return c.ours("kill", c.name) }},
		{"start after a kill, on a new union", func() sample { return c.start() }},
		{"kill", func() sample { return c.ours("kill", c.name) }},
		{"drop", func() sample { return c.ours("drop", c.name) }},
	}
	samples := map[string][]sample{}
	for round := range b.options.rounds + 1 {
		b.rounds.begin()
		c = cycle{b: b, name: strings.ReplaceAll(b.id(), "-", "_")}
		for _, s := range steps {
			if b.ctx.Err() != nil {
				return nil
			}
			b.calm(nil)
			turn := s.turn()
			if turn.err != nil {
				return turn.err
			}
			if round > 0 {
				samples[s.what] = append(samples[s.what], turn)
			}
		}
	}
	for _, s := range steps {
		if len(samples[s.what]) == 0 {
			continue // the second of its name, which is in the first one's figure
		}
		f := summary(samples[s.what])
		f.Measure, f.Who, f.What, f.Unit = "cycle", "firmwared", s.what, "ms"
		b.record(f)
		samples[s.what] = nil
	}
	return nil
}

// tickedAt waits for the file of a payload that is tick, and returns the
// milliseconds between began and its first instruction.
func tickedAt(file string, began int64) (float64, error) {
	for limit := time.Now().Add(tickLimit); time.Now().Before(limit); time.Sleep(time.Millisecond) {
		data, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		tick, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
		return float64(tick-began) / 1e6, err
	}
	return 0, fmt.Errorf("the payload did not write %s within %v", file, tickLimit)
}

// measureExec: true in an instance that runs, everybody's.
func (b *bench) measureExec() error {
	name, err := b.prepare("main", "directory")
	if err != nil {
		return err
	}
	defer func() { _, _ = b.run(b.fw("main", "drop", "--force", name)...) }() // what stays is told at the end
	if _, err := b.run(b.fw("main", "start", name, "--", "/bin/sleep", sleep)...); err != nil {
		return err
	}
	list := []contender{{"firmwared", "", "", func() sample { return b.timed(b.fw("main", "exec", name, "--", "/bin/true")) }}}
	for _, p := range b.peers {
		if p.exec == nil {
			b.missing("exec", p.name, "", p.cannot["exec"])
			continue
		}
		id := b.id()
		if err := p.start(b, id); err != nil {
			b.missing("exec", p.name, "", err.Error())
			continue
		}
		defer func() {
			if err := p.stop(b, id); err != nil {
				say("%v", err)
			}
		}()
		list = append(list, contender{p.name, "", "", func() sample { return b.timed(p.exec(b, id)) }})
	}
	b.compare("exec", b.options.rounds, list)
	b.ratios("exec", "crun", "")
	return nil
}

// measureDiff: 10 changes in a firmware of 20 000 files, beside diff(1) of both trees.
func (b *bench) measureDiff() error {
	tree, files := b.path("files"), b.scaled(20000, 2000)
	if err := b.tree(tree); err != nil {
		return err
	}
	for i := range files {
		dir := filepath.Join(tree, "usr", strconv.Itoa(i/100))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, strconv.Itoa(i)), fmt.Appendf(nil, "file %d\n", i), 0o644); err != nil {
			return err
		}
	}
	if _, err := b.run(b.fw("main", "firmware", "add", tree, "--name", "files")...); err != nil {
		return err
	}
	name, err := b.prepare("main", "files")
	if err != nil {
		return err
	}
	defer func() { _, _ = b.run(b.fw("main", "drop", "--force", name)...) }() // what stays is told at the end
	change := `cd /usr/1 && for i in 100 101 102 103 104; do echo more >>$i; done
		cd /usr/2 && /bin/busybox rm 200 201 202 && echo new >a && echo new >b`
	if _, err := b.run(b.fw("main", "start", "--attach", name, "--", "/bin/sh", "-c", change)...); err != nil {
		return err
	}
	workspace, err := b.run(b.fw("main", "get", name, "workspace")...)
	if err != nil {
		return err
	}
	if found, err := b.run(b.fw("main", "diff", name)...); err != nil || strings.Count(found, "\n") != 9 {
		return fmt.Errorf("diff does not find 10 changes: %s, %w", found, err)
	}
	what := fmt.Sprintf("10 changes, %d files", files)
	b.compare("diff", b.scaled(min(b.options.rounds, 10), min(b.options.rounds, 3)), []contender{
		{"firmwared", what, "", func() sample { return b.timed(b.fw("main", "diff", name)) }},
		{"diff -rq", what, "", func() sample { // ends with 1 when it finds a difference
			return b.timed([]string{"bash", "-c", `diff -rq --no-dereference "$1" "$2"; (( $? == 1 ))`, "diff", tree, workspace + "/union"})
		}},
	})
	b.ratios("diff", "diff -rq", what)
	return nil
}
