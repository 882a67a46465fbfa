// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/fault"
)

// Runner calls hooks. The zero value of each field but Lib is usable.
type Runner struct {
	Lib      string                                  // the directory of lib.bash
	Timeout  func(hook, action string) time.Duration // nil, or a result of 0: DefaultTimeout
	Verbose  bool                                    // asks hooks to say more
	Log      func(Line)                              // must not block; in order within a call, concurrent between calls
	CacheDir string                                  // where descriptions are kept; "" keeps none
	Cgroup   []string                                // the group in which each call gets a leaf; none: see session

	noGroups bool          // test: as if there were no cgroup2
	grace    time.Duration // test: instead of termGrace
}

// Call is one thing asked of a hook.
type Call struct {
	Hook          Hook
	Action, Layer string
	Object        string            // for messages: "firmware foo", "instance bar"
	Vars          map[string]string // FIRMWARED_* of the object; see Env
	Daemon        bool              // the hook may leave processes behind; they must not keep its stdout and stderr
	Plain         bool              // the caller may unmount by itself: see Description
	Scope         string            // with Daemon: names, uniquely on the machine, what Sweep ends
	Line          func(string)      // gets each line of stdout as it comes, escaped; nothing of stdout is kept then

	// For testing hooks only: what breaks the contract's rules on purpose.
	Edit func(env []string) []string // changes the complete environment
	Stop syscall.Signal              // what the end of ctx sends instead of TERM
}

// The clean-up has clocks of its own, which no caller's context shortens.
const (
	termGrace     = 5 * time.Second        // between TERM and KILL
	killPatience  = 5 * time.Second        // for the end after KILL
	drainPatience = 200 * time.Millisecond // for the end of the pipes after the end of the processes
)

// Run calls a hook and returns what it printed on stdout, at most 64 KiB. The error is an *Error, or an *EnvError
// when the call itself breaks the contract. A hook has the umask of the process.
func (r *Runner) Run(ctx context.Context, c Call) ([]byte, error) {
	limit := r.limit(&c)
	marks := newMarks(&c)
	env, err := r.env(&c, limit, marks)
	if err != nil {
		return nil, err
	}
	if c.Edit != nil {
		env = c.Edit(env)
	}
	failure := &Error{Hook: c.Hook.Name, Path: c.Hook.Path, Action: c.Action, Layer: c.Layer, Object: c.Object,
		Exit: -1, Limit: limit}
	out := newStdout(c.Line)
	talk := newStderr(func(text string) { r.log(&c, Line{Kind: LineStderr, Text: text}) })
	r.log(&c, Line{Kind: LineStart})
	start := time.Now()

	p, err := r.start(ctx, &c, env, marks, out.write, talk.write)
	fault.Trace("hook " + c.Hook.Name + " " + c.Action + " started")
	if err != nil {
		failure.Err = err
	} else {
		failure.started = true
		r.attend(ctx, p, &c, failure)
		out.close()
		talk.close()
	}
	fault.Trace("hook " + c.Hook.Name + " " + c.Action + " ended")
	failure.Took, failure.Stderr, failure.Flood = time.Since(start), talk.tail.last(), out.flood
	result := Line{Kind: LineResult, Took: failure.Took, Exit: failure.Exit}
	if failure.Exit != ExitDone || failure.Flood || len(failure.Left) > 0 {
		result.Err = failure
	}
	r.log(&c, result)
	return out.data, result.Err
}

// Environ is the complete environment that Run would give a call now.
func (r *Runner) Environ(c Call) ([]string, error) { return r.env(&c, r.limit(&c), newMarks(&c)) }

// limit is the call's time limit.
func (r *Runner) limit(c *Call) time.Duration {
	if r.Timeout != nil {
		if d := r.Timeout(c.Hook.Name, c.Action); d > 0 {
			return d
		}
	}
	return DefaultTimeout(c.Action)
}

// env adds to the caller's variables what the Runner knows itself.
func (r *Runner) env(c *Call, limit time.Duration, m marks) ([]string, error) {
	vars := maps.Clone(c.Vars)
	if vars == nil {
		vars = map[string]string{}
	}
	vars[VarAPI] = API
	vars[VarLib] = r.Lib
	vars[VarTimeout] = strconv.Itoa(int(math.Ceil(limit.Seconds())))
	vars[VarVerbose] = "n"
	if r.Verbose {
		vars[VarVerbose] = "y"
	}
	if c.Daemon && !validScope(c.Scope) {
		return nil, fmt.Errorf("cannot call %s: bad scope %q for its daemon", title(c.Hook.Name, c.Action), c.Scope)
	}
	env, err := Env(c.Action, c.Layer, vars)
	if err != nil {
		return nil, err
	}
	return append(env, m.env()...), nil
}

// attend waits for the hook, ends it at the limit or with ctx, and sees that nothing of it is left.
func (r *Runner) attend(ctx context.Context, p *process, c *Call, failure *Error) {
	timer := time.NewTimer(failure.Limit)
	defer timer.Stop()
	stopped, sig := true, unix.SIGTERM
	select {
	case <-p.exited:
		stopped = false
	case <-timer.C:
		failure.TimedOut = true
	case <-ctx.Done():
		failure.Err = context.Cause(ctx)
		if c.Stop != 0 {
			sig = c.Stop
		}
	}
	if stopped {
		_ = p.leaf.signal(sig)
		r.waitGrace(p.leaf)
	}
	keep := c.Daemon && !stopped
	if !keep {
		failure.Left = end(p.leaf)
	}
	if status, ok := p.reap(); ok && !stopped {
		failure.Exit = status.ExitStatus() // -1 after a signal
		if status.Signaled() {
			failure.Signal = status.Signal()
		}
	}
	patience := drainPatience
	if keep {
		patience = 0
	}
	p.stdout.finish(patience)
	p.stderr.finish(patience)
	p.leaf.remove()
}

// waitGrace gives processes that got a TERM the time to end.
func (r *Runner) waitGrace(l leaf) {
	grace := termGrace
	if r.grace > 0 {
		grace = r.grace
	}
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = l.waitEmpty(ctx)
}

// end kills what is left in a leaf and returns the processes that would not go.
func end(l leaf) []int {
	if l.empty() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), killPatience)
	defer cancel()
	if errors.Join(l.kill(ctx), l.waitEmpty(ctx)) == nil {
		return nil
	}
	return l.procs()
}
