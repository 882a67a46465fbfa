// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"firmwared/core/config"
)

// TestEachKeepsToJobs: no more than so many at once, each once, and the errors in the
// order of the items.
func TestEachKeepsToJobs(t *testing.T) {
	m := &Manager{cfg: &config.Config{Jobs: 3}}
	var atOnce, most, calls atomic.Int32
	meet := make(chan struct{})
	last := int64(0)
	err := each(context.Background(), m, 9, func(done, total int64) {
		if done != last+1 || total != 9 {
			t.Errorf("progress %d of %d after %d", done, total, last)
		}
		last = done
	}, func(i int) error {
		if now := atOnce.Add(1); now > most.Load() {
			most.Store(now)
		}
		defer atOnce.Add(-1)
		if calls.Add(1) == 3 {
			close(meet) // nobody goes on before three are here
		}
		<-meet
		if i%4 == 0 {
			return errors.New("no " + string(rune('0'+i)))
		}
		return nil
	})
	if got := strings.ReplaceAll(err.Error(), "\n", ", "); got != "no 0, no 4, no 8" {
		t.Errorf("errors: %s", got)
	}
	if most.Load() > 3 || calls.Load() != 9 || last != 9 {
		t.Errorf("%d at once, %d calls, %d told", most.Load(), calls.Load(), last)
	}
}

// TestEachStops: what is under way ends, no more is begun, and that is said.
func TestEachStops(t *testing.T) {
	over := errors.New("over")
	ctx, cancel := context.WithCancelCause(context.Background())
	m := &Manager{cfg: &config.Config{Jobs: 2}}
	err := each(ctx, m, 10, nil, func(i int) error {
		if i == 3 {
			cancel(over)
		}
		if i > 1 {
			<-ctx.Done()
			return context.Cause(ctx)
		}
		return nil
	})
	var broken *Interrupted
	if !errors.As(err, &broken) || broken.Done != 2 || broken.NotBegun != 6 || !errors.Is(err, over) {
		t.Fatalf("got %v", err)
	}
	if each(context.Background(), m, 0, nil, func(int) error { return over }) != nil {
		t.Error("none of none failed")
	}
}
