// SPDX-License-Identifier: Apache-2.0

package core

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strconv"

	"firmwared/core/config"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// minLayer is what a file system's own structures of a layer may take.
const minLayer = 64 << 10

func parseLayer(word string) (int64, error) {
	n, err := config.ParseSize(word)
	if err == nil && n < minLayer {
		err = fmt.Errorf("%q is less than 64K", word)
	}
	return n, err
}

func parseFiles(word string) (int64, error) {
	n, err := strconv.ParseInt(word, 10, 48)
	if err != nil || n < 16 {
		return 0, fmt.Errorf("%q is no number of files, from 16 up", word)
	}
	return n, nil
}

// diskLimitOf reads the limits of a rw layer among an instance's properties.
func diskLimitOf(props map[string][]string) (l rwlayer.DiskLimit) {
	if words := props["rw_max"]; len(words) > 0 {
		l.Bytes, _ = parseLayer(words[0]) // checked when it was set
	}
	if words := props["rw_files_max"]; len(words) > 0 {
		l.Inodes, _ = parseFiles(words[0])
	}
	return l
}

// project is the number that an instance's quota has on the disk: 30 bits of a
// hash, apart from those that people give out.
func project(id string) uint32 {
	sum := fnv.New32a()
	sum.Write([]byte(id))
	return 1<<30 | sum.Sum32()>>2
}

// limitLayer bounds what an instance can write to the disk. It is mounted and not
// running; the caller holds it exclusively.
func (m *Manager) limitLayer(inst *registry.Instance, limit rwlayer.DiskLimit) error {
	err := rwlayer.Bound(limit, project(inst.ID), m.at.rw(inst.ID), m.at.workdir(inst.ID))
	if errors.Is(err, rwlayer.ErrNoQuota) {
		return fmt.Errorf("rw_max and rw_files_max cannot hold in %s: %w", quote(m.at.state), rwlayer.ErrNoQuota)
	}
	return err
}
