// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"firmwared/core/fault"
	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
)

// lower is a firmware's content mounted read-only, in one generation of its
// source: the run-time file lower.json in its directory. MountID is 0 from the
// moment before the hook is called until its work is verified.
type lower struct {
	Firmware   string `json:"firmware"`
	Generation string `json:"generation"`
	MountID    uint64 `json:"mount_id"`
	Hook       string `json:"hook"`
}

func (m *Manager) lowerPoint(l lower) string { return m.at.lowerMount(l.Firmware, l.Generation) }
func (m *Manager) lowerFile(l lower) string {
	return filepath.Join(m.at.lowerDir(l.Firmware, l.Generation), "lower.json")
}
func (m *Manager) lowerUsers(l lower) string {
	return filepath.Join(m.at.lowerDir(l.Firmware, l.Generation), "users")
}

func (m *Manager) isMounted(l lower) bool {
	return l.MountID != 0 && mount.Is(m.lowerPoint(l), l.MountID)
}

// mountedLower is the newest generation of a firmware if that is mounted and
// nothing has to be written: those who find it so need not wait for each other,
// nor for the union hooks that are at work on it.
func (m *Manager) mountedLower(ctx context.Context, id string) (l lower, found bool, err error) {
	lock, err := m.store.Lock(ctx, "f-"+id, registry.Shared)
	if err != nil {
		return l, false, err
	}
	defer lock.Unlock()
	fw, err := m.store.Firmwares.Load(id)
	if err != nil || fw.Removing || !unchanged(fw) {
		return l, false, err
	}
	generation, err := m.generation(ctx, fw)
	if err != nil {
		return l, false, err
	}
	l = lower{Firmware: id, Generation: generation}
	return l, registry.ReadRuntime(m.lowerFile(l), &l) && m.isMounted(l), nil
}

// ensureLower returns the newest generation of a firmware, mounted. It may hold the
// firmware exclusively meanwhile, and no other firmware.
func (m *Manager) ensureLower(ctx context.Context, id string) (lower, error) {
	if l, found, err := m.mountedLower(ctx, id); found || err != nil {
		return l, err
	}
	lock, err := m.store.Lock(ctx, "f-"+id, registry.Exclusive)
	if err != nil {
		return lower{}, err
	}
	defer lock.Unlock()
	fw, err := m.store.Firmwares.Load(id)
	if err != nil {
		return lower{}, err
	}
	if fw.Removing {
		return lower{}, fmt.Errorf("firmware %s: %w", fw.Name, errGoing)
	}
	generation, err := m.generation(ctx, fw)
	if err != nil {
		return lower{}, err
	}
	l := lower{Firmware: id, Generation: generation, Hook: fw.Hook}
	if registry.ReadRuntime(m.lowerFile(l), &l) {
		if m.isMounted(l) {
			return l, nil
		}
		// Half mounted by a command that died, or unmounted behind our back.
		if err := m.unmountLower(ctx, fw, l, reasonRecover); err != nil {
			return lower{}, err
		}
	}
	return m.mountLower(ctx, fw, l)
}

func (m *Manager) mountLower(ctx context.Context, fw *registry.Firmware, l lower) (_ lower, err error) {
	mark, err := m.store.Begin("firmware." + fw.ID)
	if err != nil {
		return l, err
	}
	defer mark.End()
	point := m.lowerPoint(l)
	call, err := m.lowerCall(ctx, fw, l)
	if err != nil {
		return l, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, m.forgetLower(l))
		}
	}()
	fault.Point("lower.marked")
	// What an earlier boot left in them means nothing now.
	if err := mount.RemoveAll(m.at.lowerDir(l.Firmware, l.Generation)); err != nil {
		return l, err
	}
	for _, dir := range []string{point, call.Vars[hook.VarState], m.lowerUsers(l)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return l, fmt.Errorf("cannot make directory %s: %w", dir, err)
		}
	}
	l.MountID = 0
	if err := registry.WriteRuntime(m.lowerFile(l), l); err != nil {
		return l, err
	}
	fault.Point("lower.recorded")
	err = m.callMount(ctx, call, point, func() error {
		fault.Point("lower.mounted")
		p, err := mount.Stat(point)
		switch {
		case err != nil:
			return err
		case !p.Root:
			return fmt.Errorf("nothing is mounted at %s", point)
		case !p.ReadOnly:
			return fmt.Errorf("what is mounted at %s is not read-only", point)
		}
		l.MountID = p.ID
		if after, err := m.generation(ctx, fw); err != nil {
			return err
		} else if after != l.Generation {
			return errors.New("its source was replaced meanwhile: try again")
		}
		return nil
	})
	if err != nil {
		return l, err
	}
	err = registry.WriteRuntime(m.lowerFile(l), l)
	fault.Point("lower.verified")
	return l, err
}

func (m *Manager) lowerCall(ctx context.Context, fw *registry.Firmware, l lower) (hook.Call, error) {
	h, err := m.hooks.Find(l.Hook)
	if err != nil {
		return hook.Call{}, fmt.Errorf("cannot call the hook of firmware %s: %w", fw.Name, err)
	}
	d, err := m.runner.Describe(ctx, h)
	if err != nil {
		return hook.Call{}, err
	}
	vars := map[string]string{
		hook.VarFirmware: fw.Path,
		hook.VarRO:       m.lowerPoint(l),
		hook.VarID:       fw.ID,
		hook.VarName:     fw.Name,
		hook.VarState:    filepath.Join(m.at.lowerDir(l.Firmware, l.Generation), "state"),
		hook.VarLabel:    "firmwared_" + fw.ID,
	}
	for key, value := range fw.Options {
		vars[hook.OptionVar(key)] = value
	}
	return hook.Call{
		Hook:   h,
		Layer:  hook.LayerLower,
		Object: "firmware " + fw.Name,
		Vars:   vars,
		Daemon: d.Daemon,
		Plain:  d.Plain,
		Scope:  m.at.key + "-lower-" + l.Firmware + "-" + l.Generation,
	}, nil
}

// unmountLower takes a lower away. The caller holds its firmware exclusively and
// has seen that it has no users.
func (m *Manager) unmountLower(ctx context.Context, fw *registry.Firmware, l lower, reason string) error {
	call, err := m.lowerCall(ctx, fw, l)
	if err != nil {
		return err
	}
	fault.Point("lower.unmounting")
	if err := m.callUnmount(ctx, call, m.lowerPoint(l), reason); err != nil {
		return err
	}
	fault.Point("lower.unmounted")
	err = m.forgetLower(l)
	fault.Point("lower.forgotten")
	return err
}

// forgetLower removes what stood for a lower, if nothing is mounted there. A
// mount that the hook left in its state is an error: it must not be emptied.
func (m *Manager) forgetLower(l lower) error {
	point := m.lowerPoint(l)
	if !mount.Free(point) {
		return nil
	}
	dir := m.at.lowerDir(l.Firmware, l.Generation)
	for _, path := range []string{filepath.Join(dir, "state"), dir} { // lower.json not before the state
		if err := mount.RemoveAll(path); err != nil {
			return err
		}
	}
	for dir := point; dir != filepath.Join(m.at.base, "lowers"); dir = filepath.Dir(dir) {
		if os.Remove(dir) != nil { // another generation is there
			break
		}
	}
	return nil
}

// releaseLower unmounts a lower that has no users left, unless it is its
// firmware's newest generation, which stays warm. With even, it goes even so.
func (m *Manager) releaseLower(ctx context.Context, l lower, even bool, reason string) error {
	if !empty(m.lowerUsers(l)) { // the last of them will look again
		return nil
	}
	lock, err := m.store.Lock(ctx, "f-"+l.Firmware, registry.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	if !empty(m.lowerUsers(l)) || !registry.ReadRuntime(m.lowerFile(l), &l) {
		return nil
	}
	fw, err := m.store.Firmwares.Load(l.Firmware)
	if err != nil {
		return err
	}
	if newest, err := m.generation(ctx, fw); !even && err == nil && newest == l.Generation {
		return nil
	}
	return m.unmountLower(ctx, fw, l, reason)
}

// lowersOf lists the lowers that a firmware has, mounted or half mounted.
func (m *Manager) lowersOf(firmware string) []lower {
	dirs, _ := filepath.Glob(m.at.lowerDir(firmware, "*"))
	var found []lower
	for _, dir := range dirs {
		var l lower
		if registry.ReadRuntime(filepath.Join(dir, "lower.json"), &l) {
			found = append(found, l)
		}
	}
	return found
}

// mountedOn names the instances whose union stands on a firmware.
func (m *Manager) mountedOn(firmware string) []string {
	var names []string
	for _, l := range m.lowersOf(firmware) {
		users, _ := os.ReadDir(m.lowerUsers(l))
		for _, user := range users {
			if inst, err := m.store.Instances.Load(user.Name()); err == nil {
				names = append(names, inst.Name)
			}
		}
	}
	return names
}
