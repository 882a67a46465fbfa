// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"firmwared/core/fault"
	"firmwared/core/mount"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// discarded is where a rw layer goes that is about to be removed.
func (l layout) discarded(id string) string { return filepath.Join(l.workspace(id), "rw.discarded") }

// ResetOptions are what `reset` takes besides the instance.
type ResetOptions struct {
	Paths   []string // in the instance; none: all of it
	Restart bool     // kill it if it runs, and start it again
}

// Reset makes an instance, or some of its paths, as the firmware is: what was
// written there is gone. Needs Enter.
func (m *Manager) Reset(ctx context.Context, inst *registry.Instance, o ResetOptions) error {
	for _, path := range o.Paths {
		if !strings.HasPrefix(path, "/") || filepath.Clean(path) == "/" {
			return fmt.Errorf("cannot reset %s of instance %s: it is not an absolute path below /", quote(path), inst.Name)
		}
	}
	return m.change(ctx, inst, func() error {
		if !o.Restart && m.status(inst.ID).Alive() {
			return fmt.Errorf("cannot reset instance %s: it is started; kill it first, or reset --restart", inst.Name)
		}
		return m.whileStopped(ctx, inst, func() error {
			if err := m.reset(ctx, inst, o.Paths); err != nil {
				return fmt.Errorf("cannot reset instance %s: %w", inst.Name, err)
			}
			return nil
		})
	})
}

func (m *Manager) reset(ctx context.Context, inst *registry.Instance, paths []string) error {
	mark, err := m.store.Begin("instance." + inst.ID)
	if err != nil {
		return err
	}
	defer mark.End()
	// Mounted first: the lowers tell what a path of the firmware is.
	p, _ := m.planWalls(false)
	if err := m.ensureUnion(ctx, inst, p, false, reasonReset); err != nil {
		return err
	}
	u, _ := m.readUnion(inst.ID)
	lowers, err := m.lowerDirs(u)
	if err != nil {
		return err
	}
	if err := m.liftUnion(ctx, inst, u); err != nil {
		return err
	}
	if len(paths) == 0 {
		err = m.discardLayer(inst.ID)
	}
	for _, path := range paths {
		if one := rwlayer.Forget(m.at.rw(inst.ID), lowers, path, mount.RemoveAll); one != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", quote(path), one))
		}
	}
	fault.Point("reset.done")
	return errors.Join(err, m.ensureUnion(ctx, inst, p, true, reasonReset))
}

// liftUnion unmounts a union and stays a user of its lowers; ensureUnion mounts it
// again.
func (m *Manager) liftUnion(ctx context.Context, inst *registry.Instance, u union) error {
	call, err := m.unionCall(ctx, inst, u)
	if err != nil {
		return err
	}
	if err := m.callUnmount(ctx, call, m.at.union(inst.ID), reasonReset); err != nil {
		return err
	}
	fault.Point("reset.lifted")
	u.MountID = 0
	return registry.WriteRuntime(m.at.unionFile(inst.ID), u)
}

// discardLayer takes a rw layer away in one step, and then removes it: whoever is
// killed leaves it whole, or out of the way.
func (m *Manager) discardLayer(id string) error {
	if err := mount.RemoveAll(m.at.discarded(id)); err != nil {
		return err
	}
	if err := os.Rename(m.at.rw(id), m.at.discarded(id)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	fault.Point("reset.discarded")
	return mount.RemoveAll(m.at.discarded(id))
}
