// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
	"firmwared/core/sandbox"
)

// mapped is where an instance's layers are seen with the owners of its user
// namespace, from just before the union hook is called until its work is verified.
func (l layout) mapped(id string) string { return filepath.Join(l.workspace(id), "map") }

// idMap is for the layers of an instance. The last range is overlayfs's: its
// mounter, which is the host's root, makes directories in workdir, and without an
// id on the disk the union comes up read-only, with success (errno 75 in dmesg).
func idMap(ids *sandbox.IDs) (*mount.IDMap, error) {
	return mount.NewIDMap(
		mount.IDRange{Inside: 0, Outside: ids.First, Count: ids.Count},
		mount.IDRange{Inside: ids.Count, Outside: 0, Count: 1},
	)
}

// mapLayers replaces the layers in a call of a union hook by mapped ones. rw and
// workdir must lie in one mount, so it is their directory that is cloned. What it
// mounted unmapLayers takes away, also after an error.
func (m *Manager) mapLayers(id string, ids *sandbox.IDs, vars map[string]string) error {
	owners, err := idMap(ids)
	if err != nil {
		return err
	}
	defer owners.Close()
	dir := m.at.mapped(id)
	clone := func(path, name string, readOnly bool) (string, error) {
		target := filepath.Join(dir, name)
		if err := os.MkdirAll(target, 0o700); err != nil {
			return "", err
		}
		return target, owners.Clone(path, target, readOnly)
	}
	var lowers []string
	for i, lower := range strings.Split(vars[hook.VarLowerDir], ":") {
		target, err := clone(lower, strconv.Itoa(i), true)
		if err != nil {
			return err
		}
		lowers = append(lowers, target)
	}
	upper, err := clone(m.at.workspace(id), "upper", false)
	if err != nil {
		return err
	}
	vars[hook.VarLowerDir] = strings.Join(lowers, ":")
	vars[hook.VarRW] = filepath.Join(upper, filepath.Base(m.at.rw(id)))
	vars[hook.VarWorkDir] = filepath.Join(upper, filepath.Base(m.at.workdir(id)))
	return nil
}

// unmapLayers never unmounts lazily: a layer that is in use stays, and is told.
func (m *Manager) unmapLayers(id string) error {
	dir := m.at.mapped(id)
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil
	}
	for _, e := range entries {
		point := filepath.Join(dir, e.Name())
		if !mount.Free(point) {
			if err := mount.Unmount(point); err != nil {
				return err
			}
		}
	}
	return mount.RemoveAll(dir)
}

// checkOwners tells when a firmware cannot run in a user namespace, where its
// instances would. An image is mounted for that, as its first instance would do;
// a failure then is that instance's to tell.
func (m *Manager) checkOwners(ctx context.Context, fw *registry.Firmware) {
	if p, _ := m.planWalls(false); !p.userNS {
		return
	}
	point := fw.Path
	if fw.Image {
		l, err := m.ensureLower(ctx, fw.ID)
		if err != nil {
			return
		}
		point = m.lowerPoint(l)
		defer func() {
			if err := m.releaseLower(ctx, l, true, reasonRemove); err != nil {
				m.notice(fmt.Sprintf("warning: %v", err))
			}
		}()
	}
	owners, err := idMap(&sandbox.IDs{First: m.cfg.UserNSFirst, Count: idsPerInstance})
	if err == nil {
		defer owners.Close()
		err = owners.Clone(point, "", true)
	}
	if err != nil {
		m.notice(fmt.Sprintf("warning: firmware %s cannot run in a user namespace: %v; its instances start with AppArmor or --unconfined only", fw.Name, err))
	}
}
