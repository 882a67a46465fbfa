// SPDX-License-Identifier: Apache-2.0

package core

import (
	"errors"
	"fmt"
	"hash/fnv"
	"os"
	"path/filepath"
	"strconv"

	"firmwared/core/dirlock"
	"firmwared/core/registry"
	"firmwared/core/sandbox"
)

// idsPerInstance is what every firmware's accounts fit in; overlayfs's mounter
// needs one id more on the disk, see mapLayers.
const idsPerInstance = 65536

// idsDir is the one place where all state directories of this machine agree on
// who has which ids: a link named after the first id of a range leads to the
// run-time directory of its instance. A link that leads nowhere is free.
const idsDir = "/run/firmwared/ids"

// idsFile keeps an instance's own range, as long as it has run-time files.
func (m *Manager) idsFile(id string) string { return filepath.Join(m.at.runtime(id), "ids.json") }

// allocateIDs gives an instance a range of ids that no other has. Asked again it
// gives the same one, if that still lies in the configured range. The caller
// holds the instance exclusively, and its run-time directory exists.
func (m *Manager) allocateIDs(id string) (*sandbox.IDs, error) {
	unlock, err := dirlock.Lock(idsDir)
	if err != nil {
		return nil, fmt.Errorf("cannot give out user ids: %w", err)
	}
	defer unlock()
	first, count := m.cfg.UserNSFirst, m.cfg.UserNSCount
	ids := &sandbox.IDs{}
	if registry.ReadRuntime(m.idsFile(id), ids) && m.owns(id, ids) &&
		ids.First >= first && uint64(ids.First)+idsPerInstance <= uint64(first)+uint64(count) {
		return ids, nil
	}
	if ids.Count > 0 && m.owns(id, ids) { // of another setting
		_ = os.Remove(idsLink(ids.First))
	}
	// Two instances seldom begin their search at one place.
	slots := count / idsPerInstance
	hash := fnv.New32a()
	hash.Write([]byte(m.at.runtime(id)))
	for i := range slots {
		ids := &sandbox.IDs{First: first + (hash.Sum32()%slots+i)%slots*idsPerInstance, Count: idsPerInstance}
		if !m.claimIDs(id, ids.First) {
			continue
		}
		return ids, registry.WriteRuntime(m.idsFile(id), ids)
	}
	return nil, fmt.Errorf("cannot give out user ids: all %d ranges of the setting userns_range are taken", slots)
}

func idsLink(first uint32) string {
	return filepath.Join(idsDir, strconv.FormatUint(uint64(first), 10))
}

func (m *Manager) owns(id string, ids *sandbox.IDs) bool {
	target, err := os.Readlink(idsLink(ids.First))
	return err == nil && target == m.at.runtime(id)
}

// claimIDs takes a range whose last owner is gone, too.
func (m *Manager) claimIDs(id string, first uint32) bool {
	return claim(idsLink(first), m.at.runtime(id))
}

// claim makes a link that says who has what it is named after, unless it leads to
// something else that exists.
func claim(link, owner string) bool {
	if target, err := os.Readlink(link); err == nil {
		if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
			return target == owner
		}
		_ = os.Remove(link)
	}
	return os.Symlink(owner, link) == nil
}

// freeIDs gives back an instance's range; it comes before its run-time directory
// goes.
func (m *Manager) freeIDs(id string) {
	var ids sandbox.IDs
	if !registry.ReadRuntime(m.idsFile(id), &ids) {
		return
	}
	unlock, err := dirlock.Lock(idsDir)
	if err != nil {
		return // the link will lead nowhere
	}
	defer unlock()
	if m.owns(id, &ids) {
		_ = os.Remove(idsLink(ids.First))
	}
}
