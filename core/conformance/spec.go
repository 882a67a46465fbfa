// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"time"

	"firmwared/core/hook"
)

// Spec is what to test.
type Spec struct {
	Hook    string            `json:"hook"`   // path of its file; "": the kit's own
	Sample  string            `json:"sample"` // a firmware for a lower hook; "": a directory of the kit's
	Options map[string]string `json:"options"`
	Clause  string            `json:"clause"` // only this one
	Lib     string            `json:"lib"`    // the directory of lib.bash

	Limits map[string]time.Duration `json:"limits"` // per action, where they are not the default
	Token  string                   `json:"token"`  // set by Test
}

// chosen lists the clauses to drive.
func (s *Spec) chosen() []Clause {
	if c, ok := find(s.Clause); ok {
		return []Clause{c}
	}
	return clauses
}

// Count is how many verdicts there will be.
func (s *Spec) Count() int { return len(s.chosen()) }

// UsageError tells that the test was asked for in a way that cannot work.
type UsageError struct{ Text string }

func (e *UsageError) Error() string { return e.Text }

// Check finds what is wrong with the spec itself.
func (s *Spec) Check() error {
	if _, ok := find(s.Clause); s.Clause != "" && !ok {
		names := ""
		for _, c := range clauses {
			names += " " + c.Name
		}
		return &UsageError{"there is no clause " + s.Clause + "; the clauses are" + names}
	}
	return nil
}

// limit is the time limit of an action; it has the shape of hook.Runner's Timeout.
func (s *Spec) limit(_, action string) time.Duration {
	if d := s.Limits[action]; d > 0 {
		return d
	}
	return hook.DefaultTimeout(action)
}
