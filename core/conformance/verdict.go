// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"strings"
)

// Result is how a clause ended.
type Result string

// The results.
const (
	OK   Result = "ok"
	Fail Result = "FAIL"
	Warn Result = "warn" // a SHOULD that does not hold
	Skip Result = "skip"
)

// Verdict is what the kit says of one clause. The names in JSON are promised.
type Verdict struct {
	Clause string `json:"clause"`
	Result Result `json:"result"`
	Text   string `json:"text"` // what the clause asks for
	Why    string `json:"why"`  // of every result but ok
}

// String is the verdict as people read it.
func (v Verdict) String() string {
	switch v.Result {
	case OK:
		return fmt.Sprintf("ok    %-22s %s", v.Clause, v.Text)
	case Skip:
		return fmt.Sprintf("skip  %-22s %s", v.Clause, v.Why)
	}
	return fmt.Sprintf("%-5s %-22s %s: %s", v.Result, v.Clause, v.Text, v.Why)
}

// TAPHead begins a report in the Test Anything Protocol, version 13, of n verdicts.
func TAPHead(n int) string { return fmt.Sprintf("TAP version 13\n1..%d", n) }

// TAP is the verdict in that protocol, being the n-th. A warning is a failure that is not counted: a TODO.
func (v Verdict) TAP(n int) string {
	switch v.Result {
	case OK:
		return fmt.Sprintf("ok %d - %s", n, v.Clause)
	case Skip:
		return fmt.Sprintf("ok %d - %s # SKIP %s", n, v.Clause, v.Why)
	case Warn:
		return fmt.Sprintf("not ok %d - %s # TODO %s", n, v.Clause, v.Why)
	}
	return fmt.Sprintf("not ok %d - %s\n  # %s: %s", n, v.Clause, v.Text, v.Why)
}

// oneLine keeps a reason fit for a line of any of these forms.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// skipped is the error of a clause that cannot be driven here.
type skipped string

func (s skipped) Error() string { return string(s) }

// cannotMount begins the reason of a clause that is skipped because no mount works.
const cannotMount = "it cannot be mounted: "

// Sum is a line about all verdicts, and whether a clause failed.
func Sum(all []Verdict) (text string, failed bool) {
	count := map[Result]int{}
	var failures []string
	unmounted := ""
	for _, v := range all {
		count[v.Result]++
		if v.Result == Fail {
			failures = append(failures, v.Clause)
		}
		if v.Result == Skip && strings.Contains(v.Why, cannotMount) {
			unmounted = "; what needs a mount was not tested: " + v.Why
		}
	}
	text = fmt.Sprintf("%d clauses: %d ok, %d failed, %d warnings, %d skipped", len(all), count[OK], count[Fail], count[Warn], count[Skip])
	if len(failures) > 0 {
		text += "; failed: " + strings.Join(failures, " ")
	}
	return text + unmounted, len(failures) > 0
}
