// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"firmwared/core/fault"
	"firmwared/core/registry"
)

// maxChain is what an overlay can have of lowers; it also ends the circle that a
// record changed by hand may make.
const maxChain = 500

// chain is a firmware and what is below it, top first.
func (m *Manager) chain(id string) ([]*registry.Firmware, error) {
	var all []*registry.Firmware
	for id != "" {
		fw, err := m.store.Firmwares.Load(id)
		if err != nil {
			return nil, err
		}
		if all = append(all, fw); len(all) > maxChain {
			return nil, fmt.Errorf("firmware %s stands on more than %d others", all[0].Name, maxChain)
		}
		id = fw.Base
	}
	return all, nil
}

// standOn mounts the lowers of a chain, unless u has some that are mounted, and
// notes the instance as their user. It returns with each of the firmwares locked,
// shared.
func (m *Manager) standOn(ctx context.Context, inst *registry.Instance, chain []*registry.Firmware, u *union) (unlock func(), err error) {
	var locks []*registry.Lock
	unlock = func() {
		for _, lock := range locks {
			lock.Unlock()
		}
		locks = nil
	}
	for range 5 {
		if len(u.Lowers) == 0 || m.lowerLost(*u) {
			if u.Lowers, err = m.ensureLowers(ctx, chain); err != nil {
				return nil, fmt.Errorf("cannot mount instance %s: %w", inst.Name, err)
			}
		}
		// Between the two locks a lower may have been released: look again.
		for _, fw := range chain {
			lock, err := m.store.Lock(ctx, "f-"+fw.ID, registry.Shared)
			if err != nil {
				unlock()
				return nil, err
			}
			locks = append(locks, lock)
		}
		if !m.lowerLost(*u) {
			break
		}
		unlock()
	}
	if len(locks) == 0 {
		return nil, fmt.Errorf("cannot mount instance %s: its firmware is unmounted again and again", inst.Name)
	}
	for _, l := range u.Lowers {
		if err := os.WriteFile(filepath.Join(m.lowerUsers(l), inst.ID), nil, 0o600); err != nil {
			unlock()
			return nil, fmt.Errorf("cannot mount instance %s: %w", inst.Name, err)
		}
	}
	return unlock, nil
}

func (m *Manager) ensureLowers(ctx context.Context, chain []*registry.Firmware) (all []lower, err error) {
	for _, fw := range chain {
		l, err := m.ensureLower(ctx, fw.ID)
		if err != nil {
			return nil, err
		}
		all = append(all, l)
	}
	return all, nil
}

// on tells whether a union stands on a lower.
func (u union) on(l lower) bool {
	return slices.ContainsFunc(u.Lowers, func(own lower) bool {
		return own.Firmware == l.Firmware && own.Generation == l.Generation
	})
}

// lowerLost tells whether a lower below a union is not the mount that it was: it was unmounted, or the daemon that its
// hook left has ended.
func (m *Manager) lowerLost(u union) bool {
	return slices.ContainsFunc(u.Lowers, func(l lower) bool { return !m.isMounted(l) })
}

// outdated tells whether a firmware that a union stands on has a newer
// generation. A source that is gone hurts nobody while its lower is mounted;
// one overwritten in place does.
func (m *Manager) outdated(ctx context.Context, u union) (bool, error) {
	for _, l := range u.Lowers {
		fw, err := m.store.Firmwares.Load(l.Firmware)
		if err != nil {
			return false, err
		}
		newest, err := m.lockedGeneration(ctx, fw)
		if err != nil {
			if info, statErr := os.Stat(fw.Path); statErr == nil && fw.Image && statOf(info).Ino == fw.Stat.Ino {
				return false, err
			}
			m.notice(fmt.Sprintf("warning: %v; its instances go on with what is mounted", err))
			continue
		}
		if newest != l.Generation {
			return true, nil
		}
	}
	return false, nil
}

// leaveLowers ends an instance's use of its lowers, and unmounts what nobody
// uses any more. What cannot be unmounted stays for gc and is told.
func (m *Manager) leaveLowers(ctx context.Context, inst *registry.Instance, u union, reason string) {
	for _, l := range u.Lowers {
		_ = os.Remove(filepath.Join(m.lowerUsers(l), inst.ID))
		fault.Point("union.left")
		if err := m.releaseLower(ctx, l, false, reason); err != nil {
			m.notice(fmt.Sprintf("warning: %v", err))
		}
	}
}
