// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
)

// request is one call of the hook.
type request struct {
	action, layer string
	vars          map[string]string
	edit          func(env []string) []string
	verbose       bool
	scope         string // whose processes these are; "": none may stay

	after time.Duration  // the call is interrupted then, if that is not 0
	sig   syscall.Signal // with this
}

// result is what came of it.
type result struct {
	what   string // action and layer
	exit   int    // -1: it did not end by itself
	signal syscall.Signal
	late   bool // it passed its time limit
	stdout []byte
	stderr []string
	took   time.Duration
	left   []string // processes that went on after the hook's own end
	err    error    // it could not be started, or was interrupted
}

// reapPatience is for what a shell leaves running for a moment, as the end of a pipe.
const reapPatience = 300 * time.Millisecond

var callLock sync.Mutex // of kit.calls and kit.late: clauses call at once

// call runs the hook as the program does. Every call has a scope, so that what it leaves running can be seen; if
// none was asked for it ends with the call.
func (k *kit) call(q request) result {
	callLock.Lock()
	k.calls++
	scope := q.scope
	if scope == "" {
		scope = fmt.Sprintf("%s-call-%d", k.spec.Token, k.calls)
	}
	callLock.Unlock()
	runner := &hook.Runner{Lib: k.spec.Lib, Timeout: k.spec.limit, Verbose: q.verbose, Cgroup: append(groups(k.spec.Token), "hooks")}
	// Of a successful call only the log has what was said on stderr.
	var said []string
	runner.Log = func(l hook.Line) {
		if l.Kind == hook.LineStderr && len(said) < 100 {
			said = append(said, l.Text)
		}
	}
	ctx := k.ctx
	if q.after > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, q.after)
		defer cancel()
	}
	r := result{what: strings.TrimSpace(q.action + " " + q.layer)}
	start := time.Now()
	var out []byte
	var err error
	insideErr := k.outside(q.layer, func() {
		out, err = runner.Run(ctx, hook.Call{
			Hook: k.hook, Action: q.action, Layer: q.layer, Vars: q.vars,
			Daemon: true, Scope: scope, Edit: q.edit, Stop: q.sig,
		})
	})
	err = errors.Join(err, insideErr)
	r.took, r.stdout, r.stderr = time.Since(start), out, said
	var failed *hook.Error
	switch {
	case errors.As(err, &failed):
		r.exit, r.signal, r.late, r.err = failed.Exit, failed.Signal, failed.TimedOut, failed.Err
		if failed.Flood {
			r.err = errors.New("it printed more on stdout than a result may hold")
		}
	case err != nil:
		r.exit, r.err = -1, err
	}
	r.left = commands(runner.Running(scope, reapPatience))
	if len(r.left) > 0 && (q.scope == "" || !k.d.Daemon) { // to find out again that there is nobody would cost more than a call
		_ = runner.Sweep(scope)
	}
	if r.late {
		callLock.Lock()
		k.late = append(k.late, fmt.Sprintf("%s did not end within %v", r.what, k.spec.limit("", q.action)))
		callLock.Unlock()
	}
	return r
}

// done is nil for exit status 0.
func (r result) done() error { return r.is(hook.ExitDone) }

// is says whether the call ended with one of these statuses.
func (r result) is(wanted ...int) error {
	for _, want := range wanted {
		if r.exit == want && r.err == nil && !r.late && r.signal == 0 {
			return nil
		}
	}
	return errors.New(r.String())
}

// String tells how the call ended, with its last words.
func (r result) String() string {
	text := r.what + ": "
	switch {
	case r.late:
		text += "not done within its time limit"
	case r.err != nil:
		text += r.err.Error()
	case r.signal != 0:
		text += "killed by " + unix.SignalName(r.signal)
	default:
		text += fmt.Sprintf("exit status %d", r.exit)
	}
	if n := len(r.stderr); n > 0 {
		text += " (" + r.stderr[n-1] + ")"
	}
	return text
}

// names says which of these words are not on stderr.
func (r result) names(words []string) error {
	text := strings.Join(r.stderr, "\n")
	var missing []string
	for _, word := range words {
		if !strings.Contains(text, word) {
			missing = append(missing, word)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("%s does not name %s on stderr", r.what, strings.Join(missing, " "))
}

// without and with change an environment.
func without(names ...string) func([]string) []string {
	return func(env []string) []string {
		var kept []string
		for _, entry := range env {
			name, _, _ := strings.Cut(entry, "=")
			if !has(names, name) {
				kept = append(kept, entry)
			}
		}
		return kept
	}
}

func with(entries ...string) func([]string) []string {
	var names []string
	for _, entry := range entries {
		name, _, _ := strings.Cut(entry, "=")
		names = append(names, name)
	}
	return func(env []string) []string { return append(without(names...)(env), entries...) }
}
