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
// that no instance was started with any more.
func (m *Manager) unusedProfiles() []string {
	files, _ := filepath.Glob(m.wallsFile("*"))
	used := map[string]bool{}
	for _, file := range files {
		var w walls
		if registry.ReadRuntime(file, &w) {
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
		errs = append(errs, m.profiles().Remove(name))
	}
	return errors.Join(errs...)
}

// UnloadUnusedProfiles takes the profiles out of the kernel that no instance of
// this state directory was started with any more. Profiles of others, and of other
// state directories, are never touched. Needs Enter.
func (m *Manager) UnloadUnusedProfiles(ctx context.Context) error {
	if len(m.profiles().Names()) == 0 {
		return nil
	}
	return m.withProfiles(ctx, m.unloadUnused)
}

// ProfileText is the AppArmor profile that an instance was last started with, or
// else would be.
func (m *Manager) ProfileText(inst *registry.Instance) (string, error) {
	if w, found := m.readWalls(inst.ID); found && w.Profile != "" {
		return m.profiles().Text(w.Profile)
	}
	profile, err := m.renderProfile(inst, inst.Properties)
	if err != nil {
		return "", fmt.Errorf("cannot show the profile of instance %s: %w", inst.Name, err)
	}
	return profile.Text, nil
}
