// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"firmwared/core/apparmor"
	"firmwared/core/registry"
)

// defaultProfile is the template of instances whose property profile does not
// name another.
const defaultProfile = "firmware"

func (m *Manager) profiles() apparmor.Store {
	return apparmor.Store{Dir: filepath.Join(m.at.run, "profiles")}
}

// withProfiles runs do while no other command loads or unloads a profile of this
// state directory.
func (m *Manager) withProfiles(ctx context.Context, do func() error) error {
	lock, err := m.store.Lock(ctx, "profiles", registry.Exclusive)
	if err != nil {
		return err
	}
	defer lock.Unlock()
	return do()
}

// renderProfile is the profile that an instance gets at its next start.
func (m *Manager) renderProfile(inst *registry.Instance, props map[string][]string) (apparmor.Profile, error) {
	name := defaultProfile
	if words := props["profile"]; len(words) > 0 {
		name = words[0]
	}
	_, text, err := apparmor.Find(m.cfg.ProfileDirs, name)
	if err != nil {
		return apparmor.Profile{}, err
	}
	return apparmor.Render(name, text, apparmor.Subject{ID: inst.ID, Root: m.at.union(inst.ID), Key: m.at.key})
}

// unusedProfiles lists the profiles that were loaded for this state directory and
// that no instance has use for: a shared one serves the next start of those that
// were started with it, one of an instance's own goes when that does not run.
func (m *Manager) unusedProfiles() []string {
	files, _ := filepath.Glob(m.wallsFile("*"))
	used := map[string]bool{}
	for _, file := range files {
		var w walls
		id := filepath.Base(filepath.Dir(file))
		if !registry.ReadRuntime(file, &w) {
			continue
		}
		if w.Profile != apparmor.OwnName(id) || m.store.Locked("i-"+id) || m.status(id).Alive() {
			used[w.Profile] = true
		}
	}
	var unused []string
	for _, name := range m.profiles().Names() {
		if !used[name] {
			unused = append(unused, name)
		}
	}
	return unused
}

// unloadUnused is for who holds the lock of withProfiles.
func (m *Manager) unloadUnused() error {
	var errs []error
	for _, name := range m.unusedProfiles() {
		if err := m.profiles().Remove(name); !errors.Is(err, apparmor.ErrInUse) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// hasOwnProfile tells whether one is on record that serves this instance alone.
func (m *Manager) hasOwnProfile(id string) bool {
	_, err := m.profiles().Text(apparmor.OwnName(id))
	return err == nil
}

// unloadOwnProfile takes the profile of an instance's own out of the kernel when
// its run is over. The caller holds the instance exclusively.
func (m *Manager) unloadOwnProfile(ctx context.Context, id string) {
	if !m.hasOwnProfile(id) {
		return
	}
	err := m.withProfiles(ctx, func() error { return m.profiles().Remove(apparmor.OwnName(id)) })
	if err != nil && !errors.Is(err, apparmor.ErrInUse) {
		m.warn(err)
	}
}

// UnloadUnusedProfiles takes the profiles out of the kernel that no instance of
// this state directory has use for. Profiles of others, and of other state
// directories, are never touched. Needs Enter.
func (m *Manager) UnloadUnusedProfiles(ctx context.Context) error {
	if len(m.profiles().Names()) == 0 {
		return nil
	}
	return m.withProfiles(ctx, m.unloadUnused)
}

// ProfileText is the AppArmor profile that an instance was last started with if it
// is still loaded, or else would be.
func (m *Manager) ProfileText(inst *registry.Instance) (string, error) {
	if w, found := m.readWalls(inst.ID); found && w.Profile != "" {
		if text, err := m.profiles().Text(w.Profile); err == nil {
			return text, nil
		}
	}
	profile, err := m.renderProfile(inst, inst.Properties)
	if err != nil {
		return "", fmt.Errorf("cannot show the profile of instance %s: %w", inst.Name, err)
	}
	return profile.Text, nil
}
