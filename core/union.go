// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/fault"
	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
	"firmwared/core/sandbox"
)

// union is an instance's merged mount: its run-time file union.json. MountID is
// 0 from the moment before the hook is called until its work is verified.
type union struct {
	MountID uint64  `json:"mount_id"`
	Hook    string  `json:"hook"`
	Lowers  []lower `json:"lowers"`         // top first
	Used    bool    `json:"used,omitempty"` // something ran in it: it may have cached what has changed below
	// Seen is when it last had to see the lowers as they were: what has changed
	// there since may have to be told.
	Seen time.Time `json:"seen"`
	// Planned is the confinement that it was mounted for, as hooks name it. IDs are
	// those of its user namespace; nil with NoUserNS when one was planned and could
	// not be.
	Planned  string       `json:"planned"`
	IDs      *sandbox.IDs `json:"ids,omitempty"`
	NoUserNS string       `json:"no_user_namespace,omitempty"`
}

// confinement is what the union is for, as hooks get it.
func (u union) confinement() string {
	if u.NoUserNS != "" {
		return strings.TrimSuffix(strings.Replace(u.Planned, "userns", "none", 1), "+none")
	}
	return u.Planned
}

func (m *Manager) readUnion(id string) (u union, found bool) {
	return u, registry.ReadRuntime(m.at.unionFile(id), &u)
}

func (m *Manager) unionMounted(id string, u union) bool {
	return u.MountID != 0 && mount.Is(m.at.union(id), u.MountID)
}

// ensureUnion makes sure that an instance is mounted, on the newest generation
// of its firmware, for the confinement that is planned and with nothing stale in
// it. fresh makes the union anew in any case. The caller holds the instance
// exclusively, and it is not running.
func (m *Manager) ensureUnion(ctx context.Context, inst *registry.Instance, p plan, fresh bool, reason string) error {
	u, found := m.readUnion(inst.ID)
	if found {
		stale := fresh || u.Used || u.Planned != p.confinement() || !m.unionMounted(inst.ID, u) || m.lowerLost(u)
		if !stale {
			var err error
			if stale, err = m.outdated(ctx, u); err != nil {
				return err
			}
		}
		if !stale {
			return nil
		}
		if err := m.unmountUnion(ctx, inst, reason); err != nil {
			return err
		}
	}
	return m.mountUnion(ctx, inst, p)
}

// mountUnion mounts an instance's lowers, as far as they are not, in the newest
// generation, and its union.
func (m *Manager) mountUnion(ctx context.Context, inst *registry.Instance, p plan) error {
	return m.mountUnionAs(ctx, inst, p, nil)
}

// mountUnionAs is mountUnion on lowers that others stand on and that may be older,
// or on the newest where those are mounted no more.
func (m *Manager) mountUnionAs(ctx context.Context, inst *registry.Instance, p plan, lowers []lower) error {
	chain, err := m.chain(inst.Firmware)
	if err != nil {
		return fmt.Errorf("cannot mount instance %s: %w", inst.Name, err)
	}
	u := union{Hook: inst.Union, Seen: now(), Planned: p.confinement(), Lowers: lowers}
	unlock, err := m.standOn(ctx, inst, chain, &u)
	if err == nil {
		fault.Point("union.stood")
		err = m.mountUnionOn(ctx, inst, p, u)
		unlock()
	}
	if err != nil {
		m.leaveLowers(context.WithoutCancel(ctx), inst, u, reasonFailedMount)
	}
	return err
}

func (m *Manager) mountUnionOn(ctx context.Context, inst *registry.Instance, p plan, u union) error {
	if err := m.makeWorkspace(inst, u); err != nil {
		return fmt.Errorf("cannot make the workspace of instance %s: %w", inst.Name, err)
	}
	call, err := m.unionCall(ctx, inst, u)
	if err != nil {
		return err
	}
	fault.Point("union.workspace")
	if err := registry.WriteRuntime(m.at.unionFile(inst.ID), u); err != nil {
		return err
	}
	fault.Point("union.recorded")
	if p.userNS {
		if err := m.planUserNS(inst, &u, call.Vars); err != nil {
			_ = os.Remove(m.at.unionFile(inst.ID))
			return err
		}
	}
	call.Vars[hook.VarConfinement] = u.confinement()
	point := m.at.union(inst.ID)
	err = m.callMount(ctx, call, point, func() error {
		fault.Point("union.mounted")
		for _, l := range u.Lowers {
			if !m.isMounted(l) {
				return fmt.Errorf("the lower at %s was unmounted meanwhile", m.lowerPoint(l))
			}
		}
		p, err := mount.Stat(point)
		switch {
		case err != nil:
			return err
		case !p.Root:
			return fmt.Errorf("nothing is mounted at %s", point)
		}
		u.MountID = p.ID
		return errors.Join(rwlayer.Verify(point, m.at.rw(inst.ID)), m.unmapLayers(inst.ID))
	})
	if err != nil {
		err = errors.Join(err, m.unmapLayers(inst.ID))
		if mount.Free(point) { // else it still says that there is something to take away
			_ = os.Remove(m.at.unionFile(inst.ID))
		}
		return m.explainUnion(err)
	}
	err = registry.WriteRuntime(m.at.unionFile(inst.ID), u)
	fault.Point("union.verified")
	return err
}

// planUserNS makes the layers ready for a user namespace. Where that cannot be and
// nobody insists, it says why in u, and the union is mounted without.
func (m *Manager) planUserNS(inst *registry.Instance, u *union, vars map[string]string) error {
	ids, err := m.allocateIDs(inst.ID)
	if err == nil {
		err = m.mapLayers(inst.ID, ids, vars)
	}
	if err == nil {
		u.IDs = ids
		return nil
	}
	if undo := m.unmapLayers(inst.ID); undo != nil {
		return errors.Join(err, undo)
	}
	if m.cfg.UserNS == "on" {
		return fmt.Errorf("cannot mount instance %s for a user namespace: %w", inst.Name, err)
	}
	u.NoUserNS = err.Error()
	return nil
}

// explainUnion adds what the kernel does not say: an overlay can be no upper of
// another.
func (m *Manager) explainUnion(err error) error {
	var fs unix.Statfs_t
	if unix.Statfs(m.at.state, &fs) == nil && fs.Type == unix.OVERLAYFS_SUPER_MAGIC {
		return fmt.Errorf("%w; the state directory %s is itself on an overlay, which cannot hold an rw layer: give --root a directory on a disk or a tmpfs",
			err, quote(m.at.state))
	}
	return err
}

// makeWorkspace makes the directories of an instance: rw with the look of the
// firmware's root, workdir fresh, the mount point empty.
func (m *Manager) makeWorkspace(inst *registry.Instance, u union) error {
	workspace := m.at.workspace(inst.ID)
	if err := m.unmapLayers(inst.ID); err != nil {
		return err
	}
	if err := mount.RemoveAll(m.at.workdir(inst.ID)); err != nil {
		return err
	}
	if err := mount.RemoveAll(m.at.unionState(inst.ID)); err != nil {
		return err
	}
	for _, dir := range []string{workspace, m.at.workdir(inst.ID), m.at.union(inst.ID), m.at.unionState(inst.ID)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	top := m.lowerPoint(u.Lowers[0])
	if err := rwlayer.Make(m.at.rw(inst.ID), top); err != nil {
		return err
	}
	link := filepath.Join(workspace, "ro")
	_ = os.Remove(link)
	return os.Symlink(top, link)
}

func (m *Manager) unionCall(ctx context.Context, inst *registry.Instance, u union) (hook.Call, error) {
	h, err := m.hooks.Find(u.Hook)
	if err != nil {
		return hook.Call{}, fmt.Errorf("cannot call the hook of instance %s: %w", inst.Name, err)
	}
	d, err := m.runner.Describe(ctx, h)
	if err != nil {
		return hook.Call{}, err
	}
	if !d.HasLayer(hook.LayerUnion) {
		return hook.Call{}, fmt.Errorf("cannot mount instance %s: hook %s mounts no union", inst.Name, h.Name)
	}
	lowers, err := m.lowerDirs(u)
	if err != nil {
		return hook.Call{}, err
	}
	return hook.Call{
		Hook:   h,
		Layer:  hook.LayerUnion,
		Object: "instance " + inst.Name,
		Vars: map[string]string{
			hook.VarLowerDir:    strings.Join(lowers, ":"),
			hook.VarRW:          m.at.rw(inst.ID),
			hook.VarWorkDir:     m.at.workdir(inst.ID),
			hook.VarUnion:       m.at.union(inst.ID),
			hook.VarID:          inst.ID,
			hook.VarName:        inst.Name,
			hook.VarState:       m.at.unionState(inst.ID),
			hook.VarLabel:       "firmwared_" + inst.ID,
			hook.VarConfinement: u.confinement(),
		},
		Daemon: d.Daemon,
		Plain:  d.Plain,
		Scope:  m.at.key + "-union-" + inst.ID,
	}, nil
}

var apiDirs = []string{"dev", "proc", "sys"}

// lowerDirs lists the mount points below a union, top first, and the skeleton
// where none of them has the directories that pid 1 gets its kernel file systems
// mounted on.
func (m *Manager) lowerDirs(u union) ([]string, error) {
	dirs := m.firmwareDirs(u)
	complete := true
	for _, name := range apiDirs {
		complete = complete && slices.ContainsFunc(dirs, func(dir string) bool {
			_, err := os.Lstat(filepath.Join(dir, name))
			return err == nil
		})
	}
	if complete {
		return dirs, nil
	}
	for _, name := range apiDirs {
		if err := os.MkdirAll(filepath.Join(m.at.skeleton(), name), 0o755); err != nil {
			return nil, fmt.Errorf("cannot make the mount points of /dev, /proc and /sys: %w", err)
		}
	}
	return append(dirs, m.at.skeleton()), nil
}

// firmwareDirs is lowerDirs without the skeleton.
func (m *Manager) firmwareDirs(u union) []string {
	dirs := make([]string, len(u.Lowers))
	for i, l := range u.Lowers {
		dirs[i] = m.lowerPoint(l)
	}
	return dirs
}

// unmountUnion takes an instance's union away and leaves its lowers. The caller
// holds the instance exclusively.
func (m *Manager) unmountUnion(ctx context.Context, inst *registry.Instance, reason string) error {
	u, found := m.readUnion(inst.ID)
	if !found {
		return nil
	}
	call, err := m.unionCall(ctx, inst, u)
	if err != nil {
		return err
	}
	fault.Point("union.unmounting")
	if err := m.callUnmount(ctx, call, m.at.union(inst.ID), reason); err != nil {
		return err
	}
	fault.Point("union.unmounted")
	if err := m.unmapLayers(inst.ID); err != nil {
		return err
	}
	if err := os.Remove(m.at.unionFile(inst.ID)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fault.Point("union.forgotten")
	m.leaveLowers(ctx, inst, u, reason)
	return nil
}
