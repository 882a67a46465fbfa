// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"firmwared/core/event"
	"firmwared/core/registry"
	"firmwared/core/supervisor"
)

// Dropped is what one waits for when an instance is to go; no instance has it.
const Dropped State = "dropped"

// States are those that can be waited for.
func States() []State { return []State{Ready, Started, Stopping, Unmounted, Dropped} }

// WaitOptions say what is waited for.
type WaitOptions struct {
	State   State         // "": the end of the run
	Timeout time.Duration // 0: none
}

// Waited is what came of a wait for one instance. Code is the exit status of pid 1
// when the end of its run was waited for.
type Waited struct {
	Instance *registry.Instance
	Code     int
	Err      error
}

// Wait waits for all instances at once, and reports each as soon as it can be:
// that a state was reached, the end of the run under way, or how the last one of
// this boot ended. Reports do not overlap. It takes no lock.
func (m *Manager) Wait(ctx context.Context, all []*registry.Instance, o WaitOptions, report func(Waited)) {
	if o.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.Timeout)
		defer cancel()
	}
	done := make(chan Waited)
	var waiting sync.WaitGroup
	for _, inst := range all {
		waiting.Add(1)
		go func() {
			defer waiting.Done()
			w := Waited{Instance: inst}
			if o.State == "" {
				w.Code, w.Err = m.waitExit(ctx, inst)
			} else {
				w.Err = m.waitState(ctx, inst, o.State)
			}
			switch {
			case w.Err == nil:
			case errors.Is(ctx.Err(), context.DeadlineExceeded):
				w.Err = fmt.Errorf("instance %s is still %s after %v", inst.Name, m.Show(inst).State, o.Timeout)
			case ctx.Err() != nil:
				w.Err = fmt.Errorf("interrupted: instance %s is still %s", inst.Name, m.Show(inst).State)
			}
			done <- w
		}()
	}
	go func() {
		waiting.Wait()
		close(done)
	}()
	for w := range done {
		report(w)
	}
}

func (m *Manager) waitExit(ctx context.Context, inst *registry.Instance) (int, error) {
	exit, err := supervisor.Wait(ctx, m.at.runtime(inst.ID))
	switch {
	case err == nil:
		return exit.Status(), nil
	case errors.Is(err, supervisor.ErrNotRunning) && m.gone(inst):
		return 0, errDropped(inst)
	case errors.Is(err, supervisor.ErrNotRunning):
		return 0, fmt.Errorf("cannot wait for instance %s: it has not run since this machine booted; start it first", inst.Name)
	}
	return 0, fmt.Errorf("cannot wait for instance %s: %w", inst.Name, err)
}

func (m *Manager) gone(inst *registry.Instance) bool {
	_, err := m.store.Instances.Load(inst.ID)
	var missing *registry.NotFoundError
	return errors.As(err, &missing)
}

func errDropped(inst *registry.Instance) error {
	return fmt.Errorf("instance %s was dropped meanwhile", inst.Name)
}

// statePause is how often a state is looked at that no event tells of: stopping,
// and what a reboot or an admin's umount does.
const statePause = 50 * time.Millisecond

// reached says what states an event proves to have been reached, however short.
var reached = map[event.Type]State{event.Prepared: Ready, event.Started: Started, event.Dropped: Dropped}

var errReached = errors.New("reached")

// waitState looks at the state whenever an event tells of the instance, and from
// time to time. A state that was left again before it could be looked at counts if
// an event told of it.
func (m *Manager) waitState(ctx context.Context, inst *registry.Instance, want State) error {
	r := m.events.NewReader(m.events.Last()) // before the first look, so that nothing falls between
	defer r.Close()
	tick := time.NewTicker(statePause)
	defer tick.Stop()
	for {
		err := r.Read(func(e event.Event) error {
			if e.InstanceID == inst.ID && reached[e.Type] == want {
				return errReached
			}
			return nil
		})
		if errors.Is(err, errReached) {
			return nil
		}
		if m.gone(inst) {
			if want == Dropped {
				return nil
			}
			return errDropped(inst)
		}
		now := m.Show(inst)
		if now.State == want && (want != Started || now.PID != nil) { // else it is only being started
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ParseState reads the name of a state that can be waited for.
func ParseState(text string) (State, error) {
	if slices.Contains(States(), State(text)) {
		return State(text), nil
	}
	return "", fmt.Errorf("%q is none of ready, started, stopping, unmounted, dropped", text)
}
