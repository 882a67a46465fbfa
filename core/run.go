// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"

	"firmwared/core/fault"
	"firmwared/core/registry"
	"firmwared/core/supervisor"
)

// FindOrAdd returns the firmware that key names, or else registers the directory
// or image at the path key. Needs Enter.
func (m *Manager) FindOrAdd(ctx context.Context, key string, o AddOptions) (*registry.Firmware, error) {
	fw, err := m.store.Firmwares.Find(key)
	var missing *registry.NotFoundError
	if !errors.As(err, &missing) {
		return fw, err
	}
	fw, err = m.Add(ctx, key, o)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w, and no firmware of that name", err)
	}
	return fw, err
}

// PrepareToRun is Prepare for one instance that `run` starts at once. The
// firmware may be an ephemeral one that another run is just removing with its
// last instance: then it is registered again.
func (m *Manager) PrepareToRun(ctx context.Context, key string, add AddOptions, o PrepareOptions) (*registry.Instance, error) {
	for {
		fw, err := m.FindOrAdd(ctx, key, add)
		if err != nil {
			return nil, err
		}
		fault.Point("run.added")
		made, err := m.Prepare(ctx, fw, o)
		if mark, ok := m.runs.LoadAndDelete("firmware." + fw.ID); ok {
			if err != nil {
				err = errors.Join(err, m.removeEphemeral(context.WithoutCancel(ctx), fw.ID))
			}
			mark.(*registry.Mark).End()
		}
		if err == nil {
			return made[0], nil
		}
		if !errors.Is(err, errGoing) || !fw.Ephemeral {
			return nil, err
		}
		// Wait for who is removing it; should that command be dead, do its work.
		lock, err := m.store.Lock(ctx, "f-"+fw.ID, registry.Exclusive)
		if err != nil {
			return nil, err
		}
		lock.Unlock()
		m.recover(ctx)
	}
}

// EndRun does what is due when a run that this process waited for is over: the
// hooks of dead.d, and the drop of an ephemeral instance. With detached it goes
// on, and its supervisor will see to that.
func (m *Manager) EndRun(ctx context.Context, inst *registry.Instance, detached bool) error {
	defer func() {
		if mark, ok := m.runs.LoadAndDelete(inst.ID); ok {
			mark.(*registry.Mark).End()
		}
	}()
	if detached {
		return nil
	}
	fault.Point("run.over")
	return m.finishRun(ctx, inst, true)
}

// Begin starts pid 1 with plain pipes, supervised by this process: it dies with
// it. Needs Enter.
func (m *Manager) Begin(ctx context.Context, inst *registry.Instance, o StartOptions, streams supervisor.Streams) (run *supervisor.Handle, err error) {
	fault.Point("run.prepared")
	err = m.change(ctx, inst, func() error {
		spec, err := m.readyToStart(ctx, inst, o, false)
		if err == nil {
			run, err = m.beginHere(ctx, inst, spec, streams)
		}
		if err == nil {
			m.warnOfDevices(inst, run.Status())
		}
		return m.explainStart(inst, err)
	})
	return run, err
}

// StartAttached is Start with a viewer that sees the console from the first byte.
// The caller runs or closes the session. Needs Enter.
func (m *Manager) StartAttached(ctx context.Context, inst *registry.Instance, o StartOptions) (session *supervisor.Session, err error) {
	err = m.change(ctx, inst, func() error {
		spec, err := m.readyToStart(ctx, inst, o, true)
		if err == nil {
			err = m.beginDetached(ctx, inst, spec, func(spec supervisor.Spec) (pid int, err error) {
				st, s, err := supervisor.LaunchAttached(ctx, spec)
				session = s
				m.warnOfDevices(inst, st)
				return st.PID, err
			})
		}
		if err != nil && session != nil {
			session.Close()
			session = nil
		}
		return m.explainStart(inst, err)
	})
	return session, err
}
