// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// measureRun: everybody's throw-away run of true, on each kind of firmware, and
// ours of a registered firmware, whose lower is mounted, and by a path that
// nobody registered, in a state root that is empty before and after.
func (b *bench) measureRun() error {
	list := []contender{{"nothing", "", "", func() sample { return b.timed([]string{b.path("tree/bin/true")}) }}}
	for _, kind := range kinds {
		list = append(list,
			contender{"floor", kind, "", func() sample { return b.timed(b.floorRun(kind, "/bin/true")) }},
			contender{"firmwared", kind + ", registered", "", func() sample {
				return b.timed(b.fw("main", "run", kind, "--rm", "--", "/bin/true"))
			}},
			contender{"firmwared", kind + ", by path", "", func() sample {
				return b.timed(b.fw("path", "run", b.source(kind), "--rm", "--", "/bin/true"))
			}})
		for _, p := range b.peers {
			if b.quick && kind != "directory" {
				continue
			}
			if why := p.cannot[kind]; why != "" {
				b.missing("run", p.name, kind, why)
				continue
			}
			list = append(list, contender{p.name, kind, "", func() sample { return b.peerRun(p, kind, "/bin/true", b.timed) }})
		}
	}
	b.compare("run", b.options.rounds, list)
	b.ratios("run", "floor", "directory")
	return nil
}

func (b *bench) floorRun(kind string, payload ...string) []string {
	argv := []string{b.source(kind), b.path("floor-" + b.id())}
	if kind != "directory" {
		argv = append([]string{"-t", kind}, argv...)
	}
	return b.floor(append(argv, payload...)...)
}

func (b *bench) peerRun(p *peer, kind, payload string, how func([]string) sample) sample {
	argv, err := p.run(b, kind, b.id(), payload)
	if err != nil {
		return sample{err: err}
	}
	return how(argv)
}

// measureFirst: how long until the payload runs.
func (b *bench) measureFirst() error {
	list := []contender{
		{"floor", "", "", func() sample { return b.ticked(b.floorRun("directory", "/bin/tick")) }},
		{"firmwared", "run, registered", "", func() sample { return b.ticked(b.fw("main", "run", "directory", "--rm", "--", "/bin/tick")) }},
		{"firmwared", "run, by path", "", func() sample {
			return b.ticked(b.fw("path", "run", b.source("directory"), "--rm", "--", "/bin/tick"))
		}},
	}
	for _, p := range b.peers {
		list = append(list, contender{p.name, "", "", func() sample { return b.peerRun(p, "directory", "/bin/tick", b.ticked) }})
	}
	b.compare("first", b.options.rounds, list)
	b.ratios("first", "floor", "")
	return nil
}

// --- where a run's time goes ------------------------------------------------------

// stamp is a line that --verbose wrote, and when it was seen.
type stamp struct {
	at   int64
	text string
}

// measureSteps cuts runs into the hook calls that --verbose tells of, the time
// to the payload's first instruction, and what lies between them.
func (b *bench) measureSteps() error {
	for _, kind := range kinds {
		for _, how := range []string{"registered", "by path"} {
			argv := b.fw("main", "--verbose", "run", kind, "--rm", "--", "/bin/tick")
			if how == "by path" {
				argv = b.fw("path", "--verbose", "run", b.source(kind), "--rm", "--", "/bin/tick")
			}
			if err := b.stepsOf(kind+", "+how, argv); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *bench) stepsOf(what string, argv []string) error {
	times := map[string][]sample{}
	var order []string
	if _, err := b.stepsOnce(argv); err != nil { // a registered firmware's lower is mounted then
		return err
	}
	for range b.scaled(b.options.rounds, min(b.options.rounds, 3)) {
		if b.ctx.Err() != nil {
			return nil
		}
		b.rounds.begin()
		reap()
		steps, err := b.stepsOnce(argv)
		if err != nil {
			return err
		}
		for _, s := range steps {
			if _, ok := times[s.what]; !ok {
				order = append(order, s.what)
			}
			times[s.what] = append(times[s.what], sample{value: s.ms})
		}
	}
	for i, name := range order {
		f := summary(times[name])
		f.Measure, f.Who, f.What, f.Unit = "steps", "firmwared", fmt.Sprintf("%s: %d. %s", what, i+1, name), "ms"
		b.record(f)
	}
	return nil
}

// stepsOnce runs a command and notes when each line of its stderr comes.
func (b *bench) stepsOnce(argv []string) ([]step, error) {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd, out, errs, err := b.command(ctx, argv)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	errs.Close()
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer read.Close()
	cmd.Stderr = write
	began := clock()
	err = cmd.Start()
	write.Close()
	if err != nil {
		return nil, err
	}
	stamps, text := stampLines(read)
	err = cmd.Wait()
	ended := clock()
	if err != nil {
		return nil, fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, tail(text))
	}
	tick, err := strconv.ParseInt(strings.TrimSpace(content(out)), 10, 64)
	if err != nil {
		return nil, fmt.Errorf("%s: the payload's clock is not in its output", strings.Join(argv, " "))
	}
	return cut(began, ended, tick, stamps), nil
}

func stampLines(from *os.File) (stamps []stamp, text string) {
	buffer, line := make([]byte, 4096), []byte{}
	for {
		n, err := from.Read(buffer)
		at := clock()
		line = append(line, buffer[:n]...)
		for end := bytes.IndexByte(line, '\n'); end >= 0; end = bytes.IndexByte(line, '\n') {
			stamps = append(stamps, stamp{at, string(line[:end])})
			text += string(line[:end+1])
			line = line[end+1:]
		}
		if err != nil {
			return stamps, text
		}
	}
}

type step struct {
	what string
	ms   float64
}

// cut names the stretches of a run by what is at their ends. The same call
// twice in a run is one step.
func cut(began, ended, tick int64, stamps []stamp) []step {
	stamps = append(slices.Clone(stamps), stamp{tick, "pid 1's first instruction"}, stamp{ended, "the command's end"})
	slices.SortStableFunc(stamps, func(a, b stamp) int { return int(max(-1, min(1, a.at-b.at))) })
	var steps []step
	last := began
	for _, s := range stamps {
		name := nameOf(s.text)
		ms := float64(s.at-last) / 1e6
		last = s.at
		if i := slices.IndexFunc(steps, func(have step) bool { return have.what == name }); i >= 0 {
			steps[i].ms += ms
		} else {
			steps = append(steps, step{name, ms})
		}
	}
	return steps
}

// nameOf is a line of --verbose without the object's name, which differs from
// run to run: a hook call, that begins or, with its result at the end, has ended.
func nameOf(line string) string {
	line = strings.TrimPrefix(line, "firmwared: ")
	call, _, ended := strings.Cut(line, "): ")
	if !ended {
		if call, _, ended = strings.Cut(line, "describe: "); ended {
			call += "describe"
		}
	}
	call, _, _ = strings.Cut(call, " (")
	if ended {
		return "in " + call
	}
	return "until " + call
}

// --- many by two workers ----------------------------------------------------------

// measureRate: how many throw-away runs a second two workers get done.
func (b *bench) measureRate() error {
	type runner struct {
		who, what string
		argv      func() ([]string, error)
	}
	list := []runner{
		{"floor", "directory", func() ([]string, error) { return b.floorRun("directory", "/bin/true"), nil }},
		{"firmwared", "directory, registered", func() ([]string, error) { return b.fw("main", "run", "directory", "--rm", "--", "/bin/true"), nil }},
	}
	for _, p := range b.peers {
		list = append(list, runner{p.name, "directory", func() ([]string, error) { return p.run(b, "directory", b.id(), "/bin/true") }})
	}
	total, passes := b.scaled(200, min(40, 10*b.options.rounds)), b.scaled(3, 1)
	figures := make([]figure, len(list))
	samples := make([][]sample, len(list))
	for range passes {
		for _, i := range b.rng.Perm(len(list)) {
			if b.ctx.Err() != nil {
				return nil
			}
			b.rounds.begin()
			reap()
			s, failed := b.together(total, 2, list[i].argv)
			samples[i] = append(samples[i], s)
			if figures[i].Failed += failed; s.err != nil {
				figures[i].Missing = s.err.Error()
			}
		}
	}
	for i, r := range list {
		f := summary(samples[i])
		f.Measure, f.Who, f.What, f.Unit = "rate", r.who, r.what, "runs/s"
		f.Failed, f.Missing = figures[i].Failed, figures[i].Missing
		b.record(f)
	}
	b.ratios("rate", "floor", "directory")
	return nil
}

// together runs a command so many times by so many workers. The value is runs
// a second that succeeded; CPU time is the mean of a run.
func (b *bench) together(total, workers int, argv func() ([]string, error)) (all sample, failed int) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	begun := 0
	next := func(s *sample) bool {
		mu.Lock()
		defer mu.Unlock()
		if s != nil {
			if all.cpu += s.cpu; s.err != nil {
				failed++
				all.err = s.err
			}
		}
		begun++
		return begun <= total && b.ctx.Err() == nil
	}
	began := time.Now()
	for range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for more := next(nil); more; {
				words, err := argv()
				s := sample{err: err}
				if err == nil {
					s = b.timed(words)
				}
				more = next(&s)
			}
		}()
	}
	wg.Wait()
	all.value = float64(total-failed) / math.Max(time.Since(began).Seconds(), 1e-6)
	all.cpu = (all.cpu + reap()) / time.Duration(total)
	return all, failed
}
