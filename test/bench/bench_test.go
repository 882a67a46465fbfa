// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestSummary(t *testing.T) {
	var samples []sample
	for _, v := range []float64{5, 1, 4, 2, 3} {
		samples = append(samples, sample{value: v, cpu: time.Duration(v) * time.Millisecond})
	}
	f := summary(samples)
	if f.N != 5 || f.Median != 3 || f.Min != 1 || f.Max != 5 || f.CPU != 3 || math.Abs(f.P10-1.4) > 1e-9 || math.Abs(f.P90-4.6) > 1e-9 {
		t.Errorf("%+v", f)
	}
	if got := quantile([]float64{1, 2}, 0.5); got != 1.5 {
		t.Errorf("the median of two is %v, not between them", got)
	}
	if f := summary(nil); f.N != 0 || f.Median != 0 {
		t.Errorf("nothing measured gives %+v", f)
	}
}

// What failed is counted and told; what always fails gets no further turns.
func TestCompare(t *testing.T) {
	b := testBench()
	turns := map[string]int{}
	b.compare("m", 6, []contender{
		{"good", "", "", func() sample { turns["good"]++; return sample{value: 2} }},
		{"bad", "", "", func() sample { turns["bad"]++; return sample{err: errors.New("no such thing")} }},
		{"flaky", "", "", func() sample {
			if turns["flaky"]++; turns["flaky"] == 4 {
				return sample{err: errors.New("once")}
			}
			return sample{value: 8}
		}},
	})
	if turns["good"] != 7 || turns["bad"] != failedLimit || turns["flaky"] != 7 {
		t.Errorf("turns: %v", turns)
	}
	b.ratios("m", "good", "")
	good, bad, flaky := b.res.Figures[0], b.res.Figures[1], b.res.Figures[2]
	if good.N != 6 || good.Failed != 0 || good.Ratio != 1 {
		t.Errorf("%+v", good)
	}
	if bad.N != 0 || bad.Failed != failedLimit || bad.Missing != "no such thing" {
		t.Errorf("%+v", bad)
	}
	if flaky.N != 5 || flaky.Failed != 1 || flaky.Ratio != 4 || flaky.RatioTo != "good" {
		t.Errorf("%+v", flaky)
	}
}

func TestTogether(t *testing.T) {
	b := testBench()
	all, failed := b.together(5, 2, func() ([]string, error) { return []string{"/bin/true"}, nil })
	if failed != 0 || all.err != nil || all.value <= 0 {
		t.Errorf("%d failed: %+v", failed, all)
	}
	all, failed = b.together(3, 2, func() ([]string, error) { return []string{"/bin/false"}, nil })
	if failed != 3 || all.err == nil || all.value != 0 {
		t.Errorf("%d failed: %+v", failed, all)
	}
}

// A command's CPU time has that of the descendants that it waited for.
func TestTimed(t *testing.T) {
	b := testBench()
	s := b.timed([]string{"bash", "-c", `printf out; bash -c 'for ((i = 0; i < 200000; i++)); do :; done'; exit 3`})
	if s.err == nil || !strings.Contains(s.err.Error(), "exit status 3") || s.out != "out" {
		t.Errorf("%+v", s)
	}
	if s.cpu < 20*time.Millisecond || s.value < 20 {
		t.Errorf("a grandchild's loop took %v of CPU and %v ms", s.cpu, s.value)
	}
}

func TestCut(t *testing.T) {
	const ms = 1e6
	line := "firmwared: mount.hook: mount union (instance clever_fox)"
	steps := cut(0, 30*ms, 20*ms, []stamp{
		{2 * ms, "firmwared: disk.hook: describe"}, {3 * ms, "firmwared: disk.hook: describe: done in 1.0 ms"},
		{10 * ms, line}, {14 * ms, line + ": done in 4.0 ms"},
		{24 * ms, line}, {25 * ms, line + ": done in 1.0 ms"}})
	want := []step{{"until disk.hook: describe", 2}, {"in disk.hook: describe", 1},
		{"until mount.hook: mount union", 11}, {"in mount.hook: mount union", 5},
		{"until pid 1's first instruction", 6}, {"until the command's end", 5}}
	if !slices.Equal(steps, want) {
		t.Errorf("have %v\nwant %v", steps, want)
	}
}

func TestMarkdownTellsWhatIsMissing(t *testing.T) {
	r := results{Measures: []title{{"m", "A measure"}}, Figures: []figure{
		{Measure: "m", Who: "peer", What: "x", Missing: "not | here"},
		{Measure: "m", Who: "firmwared", Unit: "ms", N: 3, Median: 1.25, Ratio: 2.5, RatioTo: "floor"}}}
	text := r.markdown()
	for _, want := range []string{`* peer x is not measured: not \| here`, "| firmwared |  | ms | 1.25 |", "Ratios are to floor."} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

func TestJudge(t *testing.T) {
	r := results{Figures: []figure{
		{Measure: "run", Who: "firmwared", What: "directory, registered", Unit: "ms", N: 1, Median: 20, CPU: 30, Ratio: 3.5, RatioTo: "floor"},
		{Measure: "rate", Who: "firmwared", What: "directory, registered", Unit: "runs/s", N: 1, Median: 20, Ratio: 0.4, RatioTo: "floor"},
		{Measure: "exec", Who: "firmwared", Unit: "ms", N: 1, Median: 5}, {Measure: "exec", Who: "crun", Unit: "ms", N: 1, Median: 10}}}
	r.judge()
	met := map[string]bool{}
	for _, target := range r.Targets {
		met[target.What] = target.Met
	}
	want := map[string]bool{"run: directory, registered": true, "run: CPU, directory, registered": false,
		"rate: directory, registered": false, "exec of true": true}
	for what, is := range want {
		if got, ok := met[what]; !ok || got != is {
			t.Errorf("%s: met %v, judged %v", what, got, ok)
		}
	}
	if len(met) != len(want) {
		t.Errorf("%v", met)
	}
}

func TestChosen(t *testing.T) {
	for _, words := range [][2]string{{"all", "all"}, {"crun bwrap", "run list"}, {"none", "steps"}} {
		b := bench{options: options{peers: words[0], measures: words[1]}}
		if err := b.chosen(); err != nil {
			t.Error(err)
		}
	}
	for _, words := range [][2]string{{"crum", "all"}, {"all", "runs"}} {
		b := bench{options: options{peers: words[0], measures: words[1]}}
		if b.chosen() == nil {
			t.Errorf("%v: no error", words)
		}
	}
}

func testBench() *bench {
	b := &bench{ctx: context.Background(), token: "fwbenchtest"}
	b.rng = newRandom(1)
	return b
}

func TestLegacyCPU(t *testing.T) {
	for table, want := range map[string]string{
		"0::/\n": "", "": "",
		"3:cpuset:/\n2:cpuacct:/\n1:cpu:/\n0::/a\n":        "cpu",
		"4:memory:/x\n2:cpu,cpuacct:/user:1\n0::/user:1\n": "cpu,cpuacct",
	} {
		if got := legacyCPU(table); got != want {
			t.Errorf("%q gave %q", table, got)
		}
	}
}
