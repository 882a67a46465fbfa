// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/fault"
	"firmwared/core/mount"
	"firmwared/core/registry"
	"firmwared/core/supervisor"
)

// rootFile says where the mounts of a root are. It lies in the state directory,
// not among the run-time files, because a service with a /run of its own must
// see it too.
type rootFile struct {
	MountNS uint64 `json:"mount_namespace"`
	PidNS   uint64 `json:"pid_namespace"`
	MountID uint64 `json:"mount_id"` // of the state directory's own mount; 0 until it is made
	Below   uint64 `json:"below"`    // id of the mount that it was made in
}

func (m *Manager) rootPath() string { return filepath.Join(m.at.state, "mounts.json") }

// joined tells a command that was run again in another mount namespace so.
const joined = "FIRMWARED_JOINED_NAMESPACE"

// joinNamespace makes sure that this process sees the root's mounts. Two unions
// over one rw layer, each in a mount namespace of its own, would both mount with
// success and corrupt it silently.
func (m *Manager) joinNamespace() error {
	own, pids, err := namespaces()
	if err != nil {
		return err
	}
	again := os.Getenv(joined) != ""
	os.Unsetenv(joined)
	var root rootFile
	if !registry.ReadRuntime(m.rootPath(), &root) || root.MountNS == own {
		return nil
	}
	if root.PidNS != pids {
		return fmt.Errorf("the instances of %s belong to another container: run firmwared there, or use another --root", m.at.state)
	}
	member := mount.Member(root.MountNS)
	if member == "" {
		return nil // it died, and its mounts with it
	}
	if again {
		return fmt.Errorf("the instances of %s are mounted in the mount namespace of %s, which cannot be joined: run firmwared there (nsenter -m)", m.at.state, member)
	}
	if err := mount.Reexec(member, joined+"=1"); err != nil {
		return fmt.Errorf("the instances of %s are mounted in another mount namespace: %w", m.at.state, err)
	}
	return nil
}

func namespaces() (mounts, pids uint64, err error) {
	if mounts, err = mount.Namespace("/proc/self"); err != nil {
		return 0, 0, err
	}
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/pid", &st); err != nil {
		return 0, 0, fmt.Errorf("cannot look at the pid namespace: %w", err)
	}
	return mounts, st.Ino, nil
}

// mountRoot takes the root lock, shared, over a state directory that is a mount
// of its own.
func (m *Manager) mountRoot(ctx context.Context) (err error) {
	for {
		if m.root, err = m.store.Lock(ctx, "root", registry.Shared); err != nil {
			return err
		}
		var root rootFile
		if registry.ReadRuntime(m.rootPath(), &root) && mount.Is(m.at.base, root.MountID) {
			return nil
		}
		m.root.Unlock()
		m.root = nil
		lock, err := m.store.Lock(ctx, "root", registry.Exclusive)
		if err != nil {
			return err
		}
		err = m.bindRoot()
		lock.Unlock()
		if err != nil {
			return err
		}
	}
}

// bindRoot makes the state directory's mount unless another command was faster.
func (m *Manager) bindRoot() error {
	var root rootFile
	known := registry.ReadRuntime(m.rootPath(), &root)
	if known && mount.Is(m.at.base, root.MountID) {
		return nil
	}
	own, pids, err := namespaces()
	if err != nil {
		return err
	}
	if m.at.base != m.at.state {
		if err := os.MkdirAll(m.at.base, 0o700); err != nil {
			return fmt.Errorf("cannot make a short name for the state directory %q: %w", m.at.state, err)
		}
	}
	below, err := mount.Stat(m.at.base)
	if err != nil {
		return err
	}
	if known && root.MountID == 0 && below.Root && below.ID != root.Below {
		// Made by a command that died before it could say so.
		if err := mount.Detach(m.at.base); err != nil {
			return err
		}
		below.ID = root.Below
	}
	root = rootFile{MountNS: own, PidNS: pids, Below: below.ID}
	if err := registry.WriteRuntime(m.rootPath(), root); err != nil {
		return err
	}
	if root.MountID, err = mount.BindShared(m.at.state, m.at.base); err != nil {
		return explainMount(err)
	}
	fault.Point("root.bound")
	err = registry.WriteRuntime(m.rootPath(), root)
	if err != nil {
		return errors.Join(err, mount.Unmount(m.at.base))
	}
	m.markUnfinished()
	return nil
}

// unmountRoot takes the state directory's mount and the program's cgroups away
// when nothing is mounted any more and no other command is at work. It never
// fails: what stays is found by the next command.
func (m *Manager) unmountRoot() {
	if !empty(filepath.Join(m.at.state, "workspaces")) || !empty(filepath.Join(m.at.run, "lowers")) {
		return
	}
	lock, err := m.store.TryLock("root", registry.Exclusive)
	if err != nil {
		return
	}
	defer lock.Unlock()
	var root rootFile
	if !empty(filepath.Join(m.at.state, "workspaces")) || !empty(filepath.Join(m.at.run, "lowers")) ||
		!registry.ReadRuntime(m.rootPath(), &root) || !mount.Is(m.at.base, root.MountID) {
		return
	}
	// The lock that is held here is itself a file in the mount.
	if mount.Detach(m.at.base) != nil {
		return
	}
	fault.Point("root.detached")
	_ = os.Remove(m.rootPath())
	if m.at.base != m.at.state {
		_ = os.Remove(m.at.base)
	}
	m.removeGroups()
}

// removeGroups takes the program's cgroups away as far as they are empty. Who needs one makes it anew.
func (m *Manager) removeGroups() {
	for _, group := range [][]string{{cgroupRoot, m.at.key, "hooks"}, {cgroupRoot, m.at.key, "supervisors"}, {cgroupRoot, m.at.key}, {cgroupRoot}} {
		_ = os.Remove(cgroup.Open(group...).Path())
	}
	cgroup.RemoveCell(supervisor.CellOf(m.cgroup("")))
}

// cgroupRoot is the cgroup that holds all the program's, in the cgroup2 tree.
const cgroupRoot = "firmwared"

// empty tells whether a directory is missing or has no entry.
func empty(dir string) bool {
	d, err := os.Open(dir)
	if err != nil {
		return os.IsNotExist(err)
	}
	defer d.Close()
	names, _ := d.Readdirnames(1)
	return len(names) == 0
}
