// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"os"
	"strings"

	"firmwared/core/event"
	"firmwared/core/fault"
	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
)

// Remove unmounts a firmware and forgets it, unless an instance or another
// firmware stands on it. Needs Enter.
func (m *Manager) Remove(ctx context.Context, fw *registry.Firmware) error {
	mark, err := m.store.Begin("firmware." + fw.ID)
	if err != nil {
		return err
	}
	defer mark.End()
	lock, err := m.store.Lock(ctx, "f-"+fw.ID, registry.Exclusive)
	if err != nil {
		return err
	}
	if err := m.condemn(ctx, fw); err != nil {
		lock.Unlock()
		return err
	}
	fault.Point("remove.condemned")
	if err := m.removeFirmware(ctx, fw, reasonRemove); err != nil {
		lock.Unlock()
		return err
	}
	lock.Remove()
	return nil
}

// condemn marks a firmware as going, so that nobody new stands on it, unless
// somebody does already.
func (m *Manager) condemn(ctx context.Context, fw *registry.Firmware) error {
	names, err := m.store.Lock(ctx, "names", registry.Exclusive)
	if err != nil {
		return err
	}
	defer names.Unlock()
	now, err := m.store.Firmwares.Load(fw.ID)
	if err != nil {
		return err
	}
	*fw = *now
	if users := m.usersOf(fw.ID); len(users) > 0 {
		return &InUseError{Firmware: fw.Name, Users: users}
	}
	fw.Removing = true
	if err := m.store.Firmwares.Save(fw); err != nil && !isFull(err) {
		return err
	}
	return nil // on a full disk the lock alone keeps others off: removing makes room
}

// InUseError says who stands on a firmware that was to be removed.
type InUseError struct {
	Firmware string
	Users    []string
}

func (e *InUseError) Error() string {
	return fmt.Sprintf("cannot remove firmware %s: in use by %s", e.Firmware, strings.Join(e.Users, ", "))
}

// usersOf names the instances and firmwares that stand on a firmware.
func (m *Manager) usersOf(firmware string) []string {
	var users []string
	instances, _ := m.store.Instances.All()
	for _, inst := range instances {
		if inst.Firmware == firmware {
			users = append(users, "instance "+inst.Name)
		}
	}
	firmwares, _ := m.store.Firmwares.All()
	for _, fw := range firmwares {
		if fw.Base == firmware {
			users = append(users, "firmware "+fw.Name)
		}
	}
	return users
}

// removeFirmware takes a condemned firmware away: lowers, copied image, record.
// The caller holds it exclusively.
func (m *Manager) removeFirmware(ctx context.Context, fw *registry.Firmware, reason string) error {
	for _, l := range m.lowersOf(fw.ID) {
		if err := m.unmountLower(ctx, fw, l, reason); err != nil {
			fw.Removing = false // it is whole as long as it is mounted
			if saveErr := m.store.Firmwares.Save(fw); saveErr != nil {
				m.notice(fmt.Sprintf("warning: %v", saveErr))
			}
			return err
		}
	}
	fault.Point("remove.unmounted")
	_ = os.Remove(m.hookErrorFile(hook.LayerLower, fw.ID))
	// What was copied or committed goes last: without its record it is rubbish that recover finds.
	err := m.store.Firmwares.Delete(fw.ID)
	fault.Point("remove.forgotten")
	if err == nil && fw.Copied {
		err = mount.RemoveAll(fw.Path)
		fault.Point("remove.imageless")
	}
	if err != nil {
		return fmt.Errorf("cannot remove firmware %s: %w", fw.Name, err)
	}
	m.tellFirmware(event.FirmwareRemoved, fw)
	return nil
}

// removeEphemeral removes a firmware that came with `run --rm PATH` when its
// last instance is gone.
func (m *Manager) removeEphemeral(ctx context.Context, id string) error {
	fw, err := m.store.Firmwares.Load(id)
	if err != nil || !fw.Ephemeral || len(m.usersOf(id)) > 0 {
		return nil
	}
	lock, err := m.store.Lock(ctx, "f-"+id, registry.Exclusive)
	if err != nil {
		return err
	}
	if fw, err = m.store.Firmwares.Load(id); err != nil || !fw.Ephemeral { // adopted or removed meanwhile
		lock.Unlock()
		return nil
	}
	if err := m.condemn(ctx, fw); err != nil {
		lock.Unlock()
		return nil // somebody stands on it again
	}
	if err := m.removeFirmware(ctx, fw, reasonRemove); err != nil {
		lock.Unlock()
		return err
	}
	lock.Remove()
	return nil
}

// Unmount takes the lowers of a firmware away that no instance stands on. Needs
// Enter.
func (m *Manager) Unmount(ctx context.Context, fw *registry.Firmware) error {
	for _, l := range m.lowersOf(fw.ID) {
		if err := m.releaseLower(ctx, l, true, reasonRemove); err != nil {
			return err
		}
	}
	if users := m.mountedOn(fw.ID); len(users) > 0 {
		return fmt.Errorf("cannot unmount firmware %s: instances stand on it: %s", fw.Name, strings.Join(users, ", "))
	}
	return nil
}
