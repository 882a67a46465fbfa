// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// figure is one line of the results. Values are in Unit, CPU in milliseconds.
type figure struct {
	Measure string  `json:"measure"`
	Who     string  `json:"who"`
	What    string  `json:"what"`
	Unit    string  `json:"unit"`
	N       int     `json:"n"`
	Failed  int     `json:"failed"`
	Median  float64 `json:"median"`
	P10     float64 `json:"p10"`
	P90     float64 `json:"p90"`
	Min     float64 `json:"min"`
	Max     float64 `json:"max"`
	CPU     float64 `json:"cpu_ms"`
	Ratio   float64 `json:"ratio"`             // of the medians; 0: compared with nothing
	RatioTo string  `json:"ratio_to"`          // what it is compared with
	Missing string  `json:"missing,omitempty"` // why there is no figure, or what the last failure was
}

type title struct {
	Name  string `json:"name"`
	Title string `json:"title"`
}

type results struct {
	Version  int               `json:"version"` // of this format
	When     string            `json:"when"`
	Machine  map[string]string `json:"machine"`
	Versions map[string]string `json:"versions"`
	Quick    bool              `json:"quick"`
	Rounds   int               `json:"rounds"`
	Seed     int64             `json:"seed"`
	Idle     float64           `json:"idle_rounds"` // share of the rounds that began on an idle machine
	Measures []title           `json:"measures"`
	Figures  []figure          `json:"figures"`
	Targets  []target          `json:"targets"`
}

func (b *bench) record(f figure) { b.res.Figures = append(b.res.Figures, f) }

// single records one number.
func (b *bench) single(measure, who, what, unit string, value float64) {
	b.record(figure{Measure: measure, Who: who, What: what, Unit: unit, N: 1, Median: value, P10: value, P90: value, Min: value, Max: value})
}

// missing records that there is no figure, and why: nobody is left out silently.
func (b *bench) missing(measure, who, what, why string) {
	b.record(figure{Measure: measure, Who: who, What: what, Missing: why})
}

func (r *results) find(measure, who, what string) *figure {
	for i := range r.Figures {
		if f := &r.Figures[i]; f.Measure == measure && f.Who == who && f.What == what && f.N > 0 {
			return f
		}
	}
	return nil
}

// ratios compares the figures of a measure that have the unit of one of them with that.
func (b *bench) ratios(measure, who, what string) {
	base := b.res.find(measure, who, what)
	if base == nil || base.Median == 0 {
		return
	}
	for i := range b.res.Figures {
		if f := &b.res.Figures[i]; f.Measure == measure && f.Unit == base.Unit && f.N > 0 {
			f.Ratio, f.RatioTo = f.Median/base.Median, strings.TrimSuffix(who+", "+what, ", ")
		}
	}
}

// target is a figure that the project wants to reach.
type target struct {
	What   string  `json:"what"`
	Wanted float64 `json:"wanted"`
	Least  bool    `json:"least"` // Wanted is the least, not the most
	Unit   string  `json:"unit"`
	Have   float64 `json:"have"`
	Met    bool    `json:"met"`
}

// judge compares with the targets what was measured of them in a run.
func (r *results) judge() {
	add := func(what string, wanted float64, least bool, unit string, have float64) {
		r.Targets = append(r.Targets, target{what, wanted, least, unit, have, (have >= wanted) == least || have == wanted})
	}
	ratio := func(what string, wanted float64, measure, caseOf string, least bool) {
		if f := r.find(measure, "firmwared", caseOf); f != nil && f.Ratio > 0 {
			add(what, wanted, least, "x "+f.RatioTo, f.Ratio)
		}
	}
	ratio("run: directory, registered", 3.5, "run", "directory, registered", false)
	ratio("run: directory, by path", 5.5, "run", "directory, by path", false)
	ratio("run: squashfs, registered", 4, "run", "squashfs, registered", false)
	if f := r.find("run", "firmwared", "directory, registered"); f != nil {
		add("run: CPU, directory, registered", 20, false, "ms", f.CPU)
	}
	ratio("rate: directory, registered", 0.5, "rate", "directory, registered", true)
	for _, count := range []int{50, 500} {
		if f := r.find("list", "firmwared", fmt.Sprintf(whatMemory, count)); f != nil {
			add(fmt.Sprintf("list: supervisors' memory, %d running", count), 1024, false, "KiB", f.Median)
		}
		if f := r.find("list", "firmwared", fmt.Sprintf(whatList, count)); f != nil {
			add(fmt.Sprintf("list: list of %d", count), map[int]float64{50: 6, 500: 20}[count], false, "ms", f.Median)
		}
		first, next := r.find("list", "firmwared", whatFirst), r.find("list", "firmwared", fmt.Sprintf(whatNext, count))
		if first != nil && next != nil && count == 500 {
			add("list: start beside 500 others", 1.3, false, "x "+whatFirst, next.Median/first.Median)
		}
	}
	ratio("add", 0.95, "add", whatAdd, true)
	if ours, other := r.find("exec", "firmwared", ""), r.find("exec", "crun", ""); ours != nil && other != nil {
		add("exec of true", 1, false, "x crun exec", ours.Median/other.Median)
	}
}

// write leaves results.json and results.md, and prints the latter.
func (b *bench) write() error {
	b.res.Version, b.res.Quick, b.res.Rounds, b.res.Seed = 1, b.quick, b.options.rounds, b.seed
	if b.rounds.all > 0 {
		b.res.Idle = float64(b.rounds.idle) / float64(b.rounds.all)
	}
	b.res.judge()
	data, err := json.MarshalIndent(b.res, "", "  ")
	if err != nil {
		return err
	}
	text := b.res.markdown()
	if err := os.WriteFile(filepath.Join(b.out, "results.json"), append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("cannot write the results: %w", err)
	}
	if err := os.WriteFile(filepath.Join(b.out, "results.md"), []byte(text), 0o644); err != nil {
		return fmt.Errorf("cannot write the results: %w", err)
	}
	fmt.Print(text)
	return nil
}
