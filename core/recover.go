// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

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
		if _, err := m.mendMarked(ctx, mark); err != nil {
			m.notice(fmt.Sprintf("warning: cannot clean up after an interrupted command: %v", err))
		}
	}
}

// markUnfinished gives every record that says of itself that it is to go, and has
// no mark, one that recover will find. A power cut loses the marks where the
// run-time directory is in memory, and leaves the records.
func (m *Manager) markUnfinished() {
	var objects []string
	instances, _ := m.store.Instances.All()
	for _, inst := range instances {
		if inst.Removing || inst.Ephemeral {
			objects = append(objects, "instance."+inst.ID)
		}
	}
	firmwares, _ := m.store.Firmwares.All()
	for _, fw := range firmwares {
		if fw.Removing || fw.Ephemeral {
			objects = append(objects, "firmware."+fw.ID)
		}
	}
	for _, object := range objects {
		if mark, err := m.store.Begin(object); err == nil {
			mark.Abandon()
		}
	}
}

// mendMarked mends the object of a dead command's mark, and ends the mark when
// nothing is left to be done.
func (m *Manager) mendMarked(ctx context.Context, mark *registry.Mark) (done bool, err error) {
	kind, id, _ := strings.Cut(mark.Object, ".")
	switch kind {
	case "instance":
		err = m.recoverInstance(ctx, id, mark)
	case "firmware":
		err = m.recoverFirmware(ctx, id)
	case "image":
		err = m.recoverImage(id)
	}
	if err == nil {
		mark.End()
		return true, nil
	}
	mark.Abandon()
	if errors.Is(err, registry.ErrLocked) || errors.Is(err, errNotOver) {
		err = nil
	}
	return false, err
}

// errNotOver says that a command is at work on an ephemeral instance.
var errNotOver = errors.New("its run is not over")

// over tells whether an ephemeral instance outlived its run. The run, and then its
// supervisor, has a mark on it from before there is a record until it is dropped,
// also while nothing runs in it; own is the mark of who asks.
func (m *Manager) over(inst *registry.Instance, own *registry.Mark) bool {
	return inst.Ephemeral && !m.status(inst.ID).Alive() && !m.store.Marked("instance."+inst.ID, own)
}

// recoverInstance finishes the drop of an instance that was being made or
// dropped, or that was to end with its run, and takes away a union that was never
// verified. One that runs is let go on if it was frozen; its supervisor holds a mark
// of its own if something is due when that is killed. errNotOver says that it must be looked
// at again.
func (m *Manager) recoverInstance(ctx context.Context, id string, own *registry.Mark) error {
	lock, err := m.store.TryLock("i-"+id, registry.Exclusive)
	if err != nil {
		return err
	}
	inst, err := m.store.Instances.Load(id)
	switch {
	case isBroken(err): // hands off: an admin may mend it
		lock.Unlock()
		return nil
	case err != nil:
		return m.unlocked(lock, m.removeStray(ctx, id))
	case m.status(id).Alive():
		defer lock.Unlock()
		return errors.Join(m.thaw(inst), m.clearCopies(id))
	}
	m.settle(ctx, inst)
	if inst.Removing || m.over(inst, own) {
		return m.unlocked(lock, m.finishDrop(ctx, inst))
	}
	defer lock.Unlock()
	m.clearProcess(ctx, id)
	if err := errors.Join(m.mendUnion(ctx, inst), m.clearCopies(id)); err != nil {
		return err
	}
	if inst.Ephemeral {
		return errNotOver
	}
	return nil
}

// unlocked gives an object's lock back, and takes it away with its object.
func (m *Manager) unlocked(lock *registry.Lock, err error) error {
	if err != nil {
		lock.Unlock()
		return err
	}
	lock.Remove()
	return nil
}

// finishDrop removes an instance that is to go. The caller holds it exclusively.
func (m *Manager) finishDrop(ctx context.Context, inst *registry.Instance) error {
	inst.Removing = true
	return m.removeLast(ctx, inst)
}

// mendUnion takes away an instance's union that is half mounted, and its use of
// lowers that it does not stand on. The caller holds it exclusively, and it is not
// running.
func (m *Manager) mendUnion(ctx context.Context, inst *registry.Instance) error {
	u, found := m.readUnion(inst.ID)
	if found && !m.unionMounted(inst.ID, u) {
		if err := m.unmountUnion(ctx, inst, reasonRecover); err != nil {
			return err
		}
		u.Lowers = nil
	}
	left := union{}
	for _, l := range m.usedBy(inst.ID) {
		if !u.on(l) {
			left.Lowers = append(left.Lowers, l)
		}
	}
	m.leaveLowers(ctx, inst, left, reasonRecover)
	return nil
}

// usedBy lists the lowers that have an instance as their user.
func (m *Manager) usedBy(id string) []lower {
	var used []lower
	for _, l := range m.lowersOf("*") {
		if _, err := os.Lstat(filepath.Join(m.lowerUsers(l), id)); err == nil {
			used = append(used, l)
		}
	}
	return used
}

// removeStray removes what there is of an instance without a record. The caller
// holds its lock.
func (m *Manager) removeStray(ctx context.Context, id string) error {
	if st := m.status(id); st.Alive() {
		return fmt.Errorf("the record of instance %s is gone, but it runs: put the record back, or end pid %d", id, st.PID)
	}
	stray := &registry.Instance{ID: id, Name: id}
	m.clearProcess(ctx, id)
	if err := m.cleanNet(ctx, stray); err != nil {
		return err
	}
	if err := m.unmountUnion(ctx, stray, reasonRecover); err != nil {
		return err
	}
	if !mount.Free(m.at.union(id)) {
		return fmt.Errorf("%s is mounted, but no instance has it: unmount it", m.at.union(id))
	}
	m.leaveLowers(ctx, stray, union{Lowers: m.usedBy(id)}, reasonRecover)
	return errors.Join(m.finishDropped(ctx, id), mount.RemoveAll(m.at.workspace(id)), mount.RemoveAll(m.at.runtime(id)))
}

// recoverFirmware finishes a removal, and takes away lowers that were never
// verified, and a firmware that no run has use for. It does not wait for a
// firmware that is in use.
func (m *Manager) recoverFirmware(ctx context.Context, id string) error {
	lock, err := m.store.TryLock("f-"+id, registry.Exclusive)
	if err != nil {
		return err
	}
	fw, err := m.store.Firmwares.Load(id)
	switch {
	case isBroken(err): // hands off: an admin may mend it
		lock.Unlock()
		return nil
	case err != nil:
		lock.Remove()
		return m.removeStrayImages()
	case fw.Removing:
		return m.unlocked(lock, m.removeFirmware(ctx, fw, reasonRecover))
	case fw.Ephemeral && len(m.usersOf(id)) == 0:
		lock.Unlock()
		return m.removeEphemeral(ctx, id)
	}
	defer lock.Unlock()
	for _, l := range m.lowersOf(id) {
		if !m.isMounted(l) && empty(m.lowerUsers(l)) {
			if err := m.unmountLower(ctx, fw, l, reasonRecover); err != nil {
				return err
			}
		}
	}
	return nil
}
