// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"math"
	"slices"
	"time"
)

const (
	turnPause   = 20 * time.Millisecond // after each turn: what it left to others and to the kernel is done then
	idleWanted  = 0.6
	idleLimit   = time.Second            // a round begins then, idle or not; the share of idle ones is in the results
	calmLimit   = 500 * time.Millisecond // for what a command leaves running
	failedLimit = 3                      // a contender that failed so often, and never worked, is left out
)

// contender has one turn each round.
type contender struct {
	who, what, unit string
	turn            func() sample
}

// rounds counts how many were begun on an idle machine, for which each waits up to limit.
type rounds struct {
	limit     time.Duration
	all, idle int
}

// compare gives each contender n turns, in rounds of random order, after one
// round that does not count, and records a figure for each.
func (b *bench) compare(measure string, n int, list []contender) {
	samples := make([][]sample, len(list))
	failed := make([]int, len(list))
	reason := make([]error, len(list))
	for round := range n + 1 {
		b.rounds.begin()
		b.calm(nil)
		for _, i := range b.rng.Perm(len(list)) {
			if b.ctx.Err() != nil {
				return
			}
			if failed[i] >= failedLimit && len(samples[i]) == 0 {
				continue
			}
			before := children()
			s := list[i].turn()
			s.cpu += b.calm(before)
			switch {
			case s.err != nil:
				failed[i]++
				reason[i] = s.err
			case round > 0:
				samples[i] = append(samples[i], s)
			}
		}
	}
	for i, c := range list {
		f := summary(samples[i])
		f.Measure, f.Who, f.What, f.Unit, f.Failed = measure, c.who, c.what, cmp.Or(c.unit, "ms"), failed[i]
		if reason[i] != nil {
			f.Missing = reason[i].Error()
		}
		b.res.Figures = append(b.res.Figures, f)
	}
}

// summary has the spread of the samples' values, and the median of CPU times.
func summary(samples []sample) figure {
	if len(samples) == 0 {
		return figure{}
	}
	values, cpus := make([]float64, len(samples)), make([]float64, len(samples))
	for i, s := range samples {
		values[i], cpus[i] = s.value, milliseconds(s.cpu)
	}
	slices.Sort(values)
	slices.Sort(cpus)
	return figure{
		N: len(samples), Median: quantile(values, 0.5), P10: quantile(values, 0.1), P90: quantile(values, 0.9),
		Min: values[0], Max: values[len(values)-1], CPU: quantile(cpus, 0.5),
	}
}

// quantile of sorted values, between two of them where it falls there.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	low := int(math.Floor(at))
	high := min(low+1, len(sorted)-1)
	return sorted[low] + (at-float64(low))*(sorted[high]-sorted[low])
}

// begin waits until the machine is idle, up to a limit.
func (r *rounds) begin() {
	r.all++
	for limit := time.Now().Add(r.limit); time.Now().Before(limit); {
		idle, all := processorTime()
		time.Sleep(50 * time.Millisecond)
		idle2, all2 := processorTime()
		if all2 > all && float64(idle2-idle) >= idleWanted*float64(all2-all) {
			r.idle++
			return
		}
	}
}

// calm lets a pause pass, and then waits until all that a turn left has ended,
// up to a limit: before are the processes that stay. It returns their CPU time.
func (b *bench) calm(before []int) (cpu time.Duration) {
	time.Sleep(turnPause)
	cpu = reap()
	if before == nil {
		return cpu
	}
	for limit := time.Now().Add(calmLimit); time.Now().Before(limit); time.Sleep(2 * time.Millisecond) {
		cpu += reap()
		if !slices.ContainsFunc(children(), func(pid int) bool { return !slices.Contains(before, pid) }) {
			break
		}
	}
	return cpu
}
