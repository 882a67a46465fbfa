// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
)

// leaveByItself is how long a daemon may take to end after its file system was unmounted.
const leaveByItself = 200 * time.Millisecond

// Sweep ends the processes that the calls of a scope left behind, after a chance to end by themselves, and removes
// their leaf. A scope without any is a success. No call of the scope may be under way.
func (r *Runner) Sweep(scope string) error {
	if !validScope(scope) {
		return fmt.Errorf("cannot end the daemon of a hook: bad scope %q", scope)
	}
	l := r.scopeLeaf(scope)
	ctx, cancel := context.WithTimeout(context.Background(), leaveByItself)
	defer cancel()
	if l.waitEmpty(ctx) != nil {
		_ = l.signal(unix.SIGTERM)
		r.waitGrace(l)
	}
	return dissolve(l, "what a hook left for "+scope)
}

// scopeLeaf is what holds the processes of a scope.
func (r *Runner) scopeLeaf(scope string) leaf {
	if r.grouped() {
		g := r.open(scopePrefix + scope)
		if _, err := os.Stat(g.Path()); err == nil {
			return g
		}
	}
	return &session{mark: scopeMark(scope)}
}

// Running returns the processes that the calls of a scope left behind, once they have had the time to end.
func (r *Runner) Running(scope string, patience time.Duration) []int {
	l := r.scopeLeaf(scope)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if l.waitEmpty(ctx) == nil {
		return nil
	}
	return l.procs()
}

// Scopes names the scopes that have a leaf. Where there is no cgroup2, none can be found.
func (r *Runner) Scopes() ([]string, error) {
	var scopes []string
	names, err := r.leaves()
	for _, name := range names {
		if scope, ok := strings.CutPrefix(name, scopePrefix); ok {
			scopes = append(scopes, scope)
		}
	}
	return scopes, err
}

// Abandoned names the leaves of calls that went on after the death of their caller. Where there is no cgroup2, such
// calls cannot be found.
func (r *Runner) Abandoned() ([]string, error) {
	var calls []string
	names, err := r.leaves()
	for _, name := range names {
		if call, ok := strings.CutPrefix(name, callPrefix); ok && !ownerLives(call) {
			calls = append(calls, name)
		}
	}
	return calls, err
}

// End ends the processes of an abandoned call and removes its leaf.
func (r *Runner) End(name string) error {
	return dissolve(r.open(name), "an abandoned hook call ("+name+")")
}

// Clean ends all abandoned calls. It leaves alone the calls of living processes, and what daemons left: see Scopes and
// Sweep for those.
func (r *Runner) Clean() error {
	names, err := r.Abandoned()
	problems := []error{err}
	for _, name := range names {
		problems = append(problems, r.End(name))
	}
	return errors.Join(problems...)
}

// leaves names the groups in which calls are or were.
func (r *Runner) leaves() ([]string, error) {
	if !r.grouped() {
		return nil, nil
	}
	return cgroup.Open(r.Cgroup...).Children()
}

// dissolve kills whoever is in a leaf and removes it.
func dissolve(l leaf, what string) error {
	if left := end(l); len(left) > 0 {
		return fmt.Errorf("cannot clean up %s: %s", what, stuck(left))
	}
	l.remove()
	return nil
}

// ownerLives reads PID.START.TOKEN, the rest of the name of a call's leaf.
func ownerLives(call string) bool {
	parts := strings.SplitN(call, ".", 3)
	pid, err := strconv.Atoi(parts[0])
	if err != nil || len(parts) < 3 {
		return true // not a name of ours
	}
	start, ok := startTime(pid)
	return ok && start == parts[1]
}
