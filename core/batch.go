// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"firmwared/core/registry"
)

// Interrupted says that a command ended before all that it was to work on was
// begun. What was under way then has errors of its own if it was not finished.
type Interrupted struct {
	Done, Total int
	NotBegun    int
	Cause       error
}

func (e *Interrupted) Error() string {
	return fmt.Sprintf("%v: %d of %d done, %d not begun", e.Cause, e.Done, e.Total, e.NotBegun)
}

// Unwrap is the end of the context.
func (e *Interrupted) Unwrap() error { return e.Cause }

// Each calls do for every instance and its index. See each.
func (m *Manager) Each(ctx context.Context, all []*registry.Instance, progress func(done, total int64),
	do func(int, *registry.Instance) error) error {
	return each(ctx, m, len(all), progress, func(i int) error { return do(i, all[i]) })
}

// each calls do for the numbers below n, as many at once as are configured, and
// joins the errors in that order. Once ctx is over no further one begins; the last
// error is an *Interrupted then. progress, if set, is told after each; it is not
// called by several at once.
func each(ctx context.Context, m *Manager, n int, progress func(done, total int64), do func(int) error) error {
	jobs := m.cfg.Jobs
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	errs := make([]error, n)
	var mu sync.Mutex
	next, ended, done := 0, 0, 0
	begin := func() (i int, ok bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == n || ctx.Err() != nil {
			return 0, false
		}
		next++
		return next - 1, true
	}
	end := func(i int, err error) {
		mu.Lock()
		defer mu.Unlock()
		if errs[i] = err; err == nil {
			done++
		}
		if ended++; progress != nil {
			progress(int64(ended), int64(n))
		}
	}
	work := func() {
		for i, ok := begin(); ok; i, ok = begin() {
			end(i, do(i))
		}
	}
	var others sync.WaitGroup
	for range min(jobs, n) - 1 {
		others.Add(1)
		go func() {
			defer others.Done()
			work()
		}()
	}
	work() // one alone needs no other stack, which would have to grow first
	others.Wait()
	if next < n {
		errs = append(errs, &Interrupted{done, n, n - next, context.Cause(ctx)})
	}
	return errors.Join(errs...)
}
