// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"firmwared/core/fault"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// Rollback gives an instance the rw layer that it had at a snapshot, which stays.
// What was written since is gone. One that runs is refused, or with restart killed
// and started again as it was. Needs Enter.
func (m *Manager) Rollback(ctx context.Context, inst *registry.Instance, name string, restart bool) error {
	return m.change(ctx, inst, func() error {
		_, err := m.readSnapshot(inst, name)
		if err == nil && !restart && m.status(inst.ID).Alive() {
			err = errors.New("it is started; kill it first, or rollback --restart")
		}
		if err == nil {
			err = m.rollback(ctx, inst, name)
		}
		if err != nil {
			return fmt.Errorf("cannot roll instance %s back to %s: %w", inst.Name, quote(name), err)
		}
		return nil
	})
}

// rollback copies first, while the instance still runs, so that one that fails
// changes nothing.
func (m *Manager) rollback(ctx context.Context, inst *registry.Instance, name string) error {
	mark, err := m.store.Begin("instance." + inst.ID)
	if err != nil {
		return err
	}
	defer mark.End()
	if err := m.clearCopies(inst.ID); err != nil {
		return err
	}
	incoming := m.at.incoming(inst.ID)
	_, err = rwlayer.Copy(ctx, filepath.Join(m.at.snapshot(inst.ID, name), "rw"), incoming)
	if err == nil {
		fault.Point("rollback.copied")
		err = syncAll(m.at.workspace(inst.ID))
	}
	if err == nil {
		err = m.whileStopped(ctx, inst, func() error { return m.takeIncoming(ctx, inst) })
	}
	return errors.Join(err, m.clearCopies(inst.ID))
}

// whileStopped runs do while the instance does not run, and starts it again if it did.
func (m *Manager) whileStopped(ctx context.Context, inst *registry.Instance, do func() error) error {
	if !m.status(inst.ID).Alive() {
		return do()
	}
	var start StartOptions
	registry.ReadRuntime(m.startFile(inst.ID), &start)
	if err := m.kill(ctx, inst, KillOptions{}); err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	return m.launch(ctx, inst, start)
}

// takeIncoming puts the incoming layer in the place of rw, and rw in its, in one
// step: whoever is killed leaves the old one or the new one, whole.
func (m *Manager) takeIncoming(ctx context.Context, inst *registry.Instance) error {
	if u, found := m.readUnion(inst.ID); found {
		if err := m.liftUnion(ctx, inst, u); err != nil {
			return err
		}
	}
	err := unix.Renameat2(unix.AT_FDCWD, m.at.incoming(inst.ID), unix.AT_FDCWD, m.at.rw(inst.ID), unix.RENAME_EXCHANGE)
	switch {
	case errors.Is(err, os.ErrNotExist): // there is no rw: nothing to exchange
		err = os.Rename(m.at.incoming(inst.ID), m.at.rw(inst.ID))
	case errors.Is(err, unix.EINVAL):
		err = errors.New("the file system of the state directory cannot exchange two directories (renameat2)")
	}
	fault.Point("rollback.exchanged")
	if err == nil {
		err = registry.SyncDir(m.at.workspace(inst.ID))
	}
	p, _ := m.planWalls(false)
	return errors.Join(err, m.ensureUnion(ctx, inst, p, true, reasonReset))
}
