// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"firmwared/core/event"
	"firmwared/core/mount"
	"firmwared/core/registry"
)

// recover mends what commands that died left half done. It looks only at the
// marks of dead commands, so it costs nothing when there are none; what it cannot
// mend now it leaves for the next command, and tells.
func (m *Manager) recover(ctx context.Context) {
	dead := m.store.Dead()
	if len(dead) == 0 {
		return
	}
	if err := m.runner.Clean(); err != nil {
		m.notice(fmt.Sprintf("warning: %v", err))
	}
	for _, mark := range dead {
		kind, id, _ := strings.Cut(mark.Object, ".")
		var err error
		switch kind {
		case "instance":
			err = m.recoverInstance(ctx, id)
		case "firmware":
			err = m.recoverFirmware(ctx, id)
		case "image":
			err = m.recoverImage(id)
		}
		switch {
		case err == nil:
			mark.End()
		case errors.Is(err, registry.ErrLocked):
			mark.Abandon()
		default:
			m.notice(fmt.Sprintf("warning: cannot clean up after an interrupted command: %v", err))
			mark.Abandon()
		}
	}
}

// recoverInstance finishes the drop of an instance that was being made or
// dropped, or that was to end with its run, and takes away a union that was never
// verified. One that runs needs nothing: its supervisor holds a mark of its own
// if something is due when that is killed.
func (m *Manager) recoverInstance(ctx context.Context, id string) error {
	lock, err := m.store.TryLock("i-"+id, registry.Exclusive)
	if err != nil {
		return err
	}
	inst, err := m.store.Instances.Load(id)
	if isBroken(err) { // hands off: an admin may mend it
		lock.Unlock()
		return nil
	}
	if err != nil {
		err = m.removeWorkspace(ctx, id)
		lock.Remove()
		return err
	}
	if m.status(id).Alive() {
		lock.Unlock()
		return nil
	}
	m.settle(ctx, inst)
	if inst.Removing || inst.Ephemeral {
		inst.Removing = true
		subject := m.subject(inst)
		if err := m.remove(ctx, inst); err != nil {
			lock.Unlock()
			return err
		}
		m.tell(event.Event{Type: event.Dropped, Subject: subject})
		lock.Remove()
		return m.removeEphemeral(ctx, inst.Firmware)
	}
	defer lock.Unlock()
	m.clearProcess(ctx, id)
	if u, found := m.readUnion(id); found && !m.unionMounted(id, u) {
		return m.unmountUnion(ctx, inst, reasonRecover)
	}
	return nil
}

// removeWorkspace removes the directories of an instance without a record.
func (m *Manager) removeWorkspace(ctx context.Context, id string) error {
	m.clearProcess(ctx, id)
	if !mount.Free(m.at.union(id)) {
		return fmt.Errorf("%s is mounted, but no instance has it: unmount it", m.at.union(id))
	}
	return errors.Join(mount.RemoveAll(m.at.workspace(id)), mount.RemoveAll(m.at.runtime(id)))
}

// recoverFirmware finishes a removal, and takes away lowers that were never
// verified. It does not wait for a firmware that is in use.
func (m *Manager) recoverFirmware(ctx context.Context, id string) error {
	lock, err := m.store.TryLock("f-"+id, registry.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	fw, err := m.store.Firmwares.Load(id)
	if err != nil {
		return nil
	}
	if fw.Removing {
		return m.removeFirmware(ctx, fw, reasonRecover)
	}
	for _, l := range m.lowersOf(id) {
		if !m.isMounted(l) && empty(m.lowerUsers(l)) {
			if err := m.unmountLower(ctx, fw, l, reasonRecover); err != nil {
				return err
			}
		}
	}
	return nil
}
