// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"maps"
	"os"

	"firmwared/core/fault"
	"firmwared/core/registry"
)

// Clone makes an instance that is as another one is now: the same firmware in the
// same generation, a copy of its rw layer, its properties. It is not started, and
// has no snapshots. name may be "". A running instance is frozen while its layer is
// copied. Needs Enter.
func (m *Manager) Clone(ctx context.Context, of *registry.Instance, name string) (*registry.Instance, error) {
	fail := func(err error) (*registry.Instance, error) {
		return nil, fmt.Errorf("cannot clone instance %s: %w", of.Name, err)
	}
	if name != "" {
		if err := registry.CheckName(name); err != nil {
			return fail(err)
		}
	}
	fw, err := m.store.Firmwares.Load(of.Firmware)
	if err != nil {
		return fail(err)
	}
	made, err := m.prepareOne(ctx, fw, registry.Instance{
		ID: registry.NewID(), Name: name, Firmware: fw.ID, Union: of.Union, Properties: maps.Clone(of.Properties),
	}, func(ctx context.Context, inst *registry.Instance) error {
		lowers, err := m.inheritLayer(ctx, of, inst)
		if err != nil {
			return err
		}
		p, _ := m.planWalls(false)
		return m.mountUnionAs(ctx, inst, p, lowers)
	})
	if err != nil {
		return fail(err)
	}
	return made, nil
}

// inheritLayer gives a new instance the rw layer of another, and returns the lowers
// that this one stands on.
func (m *Manager) inheritLayer(ctx context.Context, of, inst *registry.Instance) (lowers []lower, err error) {
	if err := os.MkdirAll(m.at.workspace(inst.ID), 0o700); err != nil {
		return nil, err
	}
	err = m.change(ctx, of, func() error {
		mark, err := m.store.Begin("instance." + of.ID)
		if err != nil {
			return err
		}
		defer mark.End()
		u, _ := m.readUnion(of.ID)
		lowers = u.Lowers
		_, err = m.copyLayer(ctx, of, m.at.rw(inst.ID))
		return err
	})
	fault.Point("clone.copied")
	if err == nil {
		err = syncAll(m.at.workspace(inst.ID))
	}
	return lowers, err
}
