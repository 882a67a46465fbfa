// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// markdown is the results as tables for people.
func (r *results) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# firmwared and its neighbours\n\n%s, %d rounds, seed %d, %.0f%% of the rounds begun on an idle machine%s.\n\n",
		r.When, r.Rounds, r.Seed, 100*r.Idle, map[bool]string{true: "; a quick run", false: ""}[r.Quick])
	for _, name := range slices.Sorted(maps.Keys(r.Machine)) {
		fmt.Fprintf(&b, "* %s: %s\n", name, r.Machine[name])
	}
	for _, name := range slices.Sorted(maps.Keys(r.Versions)) {
		fmt.Fprintf(&b, "* %s: %s\n", name, r.Versions[name])
	}
	for _, m := range r.Measures {
		r.table(&b, m)
	}
	r.targets(&b)
	return b.String()
}

func (r *results) table(b *strings.Builder, m title) {
	fmt.Fprintf(b, "\n## %s: %s\n\n", m.Name, m.Title)
	to := ""
	for _, f := range r.Figures {
		if f.Measure == m.Name && f.RatioTo != "" {
			to = f.RatioTo
		}
	}
	if to != "" {
		fmt.Fprintf(b, "Ratios are to %s.\n\n", to)
	}
	b.WriteString("| who | what | unit | median | p10..p90 | min..max | CPU ms | ratio | n | failed |\n|---|---|---|--:|---|---|--:|--:|--:|--:|\n")
	var notes []string
	rows := slices.Clone(r.Figures)
	slices.SortStableFunc(rows, func(a, b figure) int { return min(b.N, 1) - min(a.N, 1) }) // what is missing comes last
	for _, f := range rows {
		if f.Measure != m.Name {
			continue
		}
		who := strings.TrimSpace(f.Who + " " + f.What)
		if f.N == 0 {
			fmt.Fprintf(b, "| %s | %s | | - | | | | | 0 | %d |\n", f.Who, f.What, f.Failed)
			notes = append(notes, fmt.Sprintf("* %s is not measured: %s", who, cell(f.Missing)))
			continue
		}
		if f.Failed > 0 {
			notes = append(notes, fmt.Sprintf("* %s: %d failed, the last: %s", who, f.Failed, cell(f.Missing)))
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s..%s | %s..%s | %s | %s | %d | %d |\n", f.Who, f.What, f.Unit, number(f.Median),
			number(f.P10), number(f.P90), number(f.Min), number(f.Max), unlessZero(f.CPU), unlessZero(f.Ratio), f.N, f.Failed)
	}
	if len(notes) > 0 {
		fmt.Fprintf(b, "\n%s\n", strings.Join(notes, "\n"))
	}
}

func (r *results) targets(b *strings.Builder) {
	if len(r.Targets) == 0 {
		return
	}
	b.WriteString("\n## Wanted and reached\n\n| what | wanted | have | unit | reached |\n|---|--:|--:|---|---|\n")
	for _, t := range r.Targets {
		fmt.Fprintf(b, "| %s | %s %s | %s | %s | %s |\n", t.What, map[bool]string{true: "at least", false: "at most"}[t.Least],
			number(t.Wanted), number(t.Have), t.Unit, map[bool]string{true: "yes", false: "no"}[t.Met])
	}
}

// number keeps three digits or so.
func number(v float64) string {
	switch {
	case v != 0 && v < 10 && v > -10:
		return fmt.Sprintf("%.2f", v)
	case v < 1000:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

func unlessZero(v float64) string {
	if v == 0 {
		return ""
	}
	return number(v)
}

// cell is text that breaks no table or list.
func cell(text string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}
