// SPDX-License-Identifier: Apache-2.0

// Command bench measures firmwared beside the least that the kernel asks for
// (floor.c) and beside what people would use instead. test/bench/run installs
// the neighbours, builds it, and starts it as root in a mount namespace of its own.
//
// Everything that is compared is run in turns: rounds in which each contender
// has one turn, in an order that is new each time (seeded), begun when the
// machine is idle or a limit has passed. Times are from before fork to after wait;
// CPU time is that of the command and of all its descendants that have ended.
package main

import (
	"context"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

type options struct {
	program, tools, hand string // firmwared; the directory of floor and tick; the script by-hand
	work, out            string
	peers, measures      string
	rounds               int
	quick                bool
	seed                 int64
}

type bench struct {
	options
	ctx     context.Context // ends on a signal: measuring stops, cleaning goes on
	token   string          // part of every name that is made outside of the work directory
	rng     *rand.Rand
	seq     atomic.Int64
	peers   []*peer // those that work here
	res     results
	staying map[string]int // pids of commands in the background, by id
	rounds  rounds
}

// measures in the order they are taken in. A measure records figures, and what
// it could not find out; it returns an error only if nothing can be measured.
var measures = []struct {
	name, title string
	take        func(*bench) error
}{
	{"run", "One throw-away run of `true`", (*bench).measureRun},
	{"steps", "Where a run's time goes", (*bench).measureSteps},
	{"cycle", "Life cycle of one instance", (*bench).measureCycle},
	{"first", "From the tool's start to pid 1's first instruction", (*bench).measureFirst},
	{"exec", "`exec` of `true` in a running instance", (*bench).measureExec},
	{"diff", "`diff` of 10 changes in a large firmware", (*bench).measureDiff},
	{"rate", "Throw-away runs by 2 workers", (*bench).measureRate},
	{"list", "Many running instances: memory, list, next start", (*bench).measureList},
	{"add", "`firmware add` of a large image, warm", (*bench).measureAdd},
	{"cache", "Page cache shared by instances of one image", (*bench).measureCache},
}

func main() {
	b := &bench{token: fmt.Sprintf("fwbench%d", os.Getpid())}
	flag.StringVar(&b.program, "program", "", "the firmwared to measure")
	flag.StringVar(&b.tools, "tools", "", "the directory of the built floor and tick")
	flag.StringVar(&b.hand, "by-hand", "", "the script that lays a union around a tool")
	flag.StringVar(&b.work, "work", "", "a new directory for all files, on a file system that can be an upper layer")
	flag.StringVar(&b.out, "out", "", "the directory for results.json and results.md")
	flag.StringVar(&b.options.peers, "peers", "all", "neighbours, separated by spaces; all or none")
	flag.StringVar(&b.measures, "measures", "all", "what to measure, separated by spaces")
	flag.IntVar(&b.options.rounds, "rounds", 0, "turns of each contender; 0: 40, or 6 if quick")
	flag.BoolVar(&b.quick, "quick", false, "fewer turns, fewer and smaller things")
	flag.Int64Var(&b.seed, "seed", 1, "of the order of turns")
	flag.Parse()
	if b.program == "" || b.tools == "" || b.hand == "" || b.work == "" || b.out == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := b.chosen(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	}
	if err := b.main(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// chosen refuses names of peers and measures that there are not.
func (b *bench) chosen() error {
	var names []string
	for _, m := range measures {
		names = append(names, m.name)
	}
	if err := known(b.measures, names); err != nil {
		return fmt.Errorf("measures: %w", err)
	}
	names = []string{"none"}
	for _, p := range neighbours {
		names = append(names, p.name)
	}
	if err := known(b.options.peers, names); err != nil {
		return fmt.Errorf("peers: %w", err)
	}
	return nil
}

func known(list string, names []string) error {
	for _, word := range strings.Fields(list) {
		if word != "all" && !slices.Contains(names, word) {
			return fmt.Errorf("there is no %q; there are all %s", word, strings.Join(names, " "))
		}
	}
	return nil
}

// wanted tells whether a list of words names it.
func wanted(list, name string) bool {
	words := strings.Fields(list)
	return slices.Contains(words, "all") || slices.Contains(words, name)
}

// main measures, writes what was found, and leaves nothing behind, in any case.
func (b *bench) main() (err error) {
	var stop context.CancelFunc
	b.ctx, stop = signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	b.rng = newRandom(b.seed)
	b.rounds.limit = time.Duration(b.scaled(1000, 200)) * time.Millisecond
	if b.options.rounds == 0 {
		b.options.rounds = b.scaled(40, 6)
	}
	defer func() {
		if left := b.leave(); left != nil && err == nil {
			err = left
		}
	}()
	if err := b.enter(); err != nil {
		return err
	}
	if err := b.fixtures(); err != nil {
		return err
	}
	b.settle()
	for _, m := range measures {
		if !wanted(b.measures, m.name) || b.ctx.Err() != nil {
			continue
		}
		say("%s", m.title)
		b.res.Measures = append(b.res.Measures, title{m.name, m.title})
		if err := m.take(b); err != nil && b.ctx.Err() == nil {
			b.missing(m.name, "firmwared", "", err.Error())
		}
	}
	if b.ctx.Err() != nil {
		return fmt.Errorf("stopped: nothing was written")
	}
	if err := b.write(); err != nil {
		return err
	}
	return b.failures()
}

// failures is the error of a run in which firmwared or the floor could not do
// something: then the figures are not those of a working program.
func (b *bench) failures() error {
	for _, f := range b.res.Figures {
		if (f.Who == "firmwared" || f.Who == "floor") && (f.Failed > 0 || f.Missing != "") {
			return fmt.Errorf("%s, %s %s: %d failed: %s", f.Measure, f.Who, f.What, f.Failed, f.Missing)
		}
	}
	return nil
}

// scaled is how much of something there is in a full and in a quick run.
func (b *bench) scaled(full, quick int) int {
	if b.quick {
		return quick
	}
	return full
}

// id is a new name for an instance.
func (b *bench) id() string { return fmt.Sprintf("%s-%d", b.token, b.seq.Add(1)) }

func (b *bench) path(parts ...string) string {
	return filepath.Join(append([]string{b.work}, parts...)...)
}

// fw is a command line of firmwared on one of the bench's state roots.
func (b *bench) fw(root string, args ...string) []string {
	return append([]string{b.program, "--config", b.config(root)}, args...)
}

func (b *bench) config(root string) string { return b.path(root + ".toml") }

func (b *bench) floor(args ...string) []string {
	return append([]string{filepath.Join(b.tools, "floor")}, args...)
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", args...) }

func newRandom(seed int64) *rand.Rand { return rand.New(rand.NewSource(seed)) }
