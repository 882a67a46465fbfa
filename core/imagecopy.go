// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"firmwared/core/fault"
	"firmwared/core/mount"
	"firmwared/core/registry"
)

// hashOnce fills in an image's identity, without reading it if the same file in
// the same state was hashed for a firmware before.
func (m *Manager) hashOnce(ctx context.Context, fw *registry.Firmware, progress func(done, total int64)) error {
	info, err := os.Stat(fw.Path)
	if err != nil {
		return fmt.Errorf("cannot read image %q: %w", fw.Path, cause(err))
	}
	known, _ := m.store.Firmwares.All()
	for _, other := range known {
		if other.Image && *other.Stat == statOf(info) {
			fw.SHA256, fw.Stat = other.SHA256, other.Stat
			return nil
		}
	}
	fw.SHA256, fw.Stat, err = hashImage(ctx, fw.Path, nil, progress)
	return err
}

// imageCopy is a copy of an image, or a directory that a commit makes, in the state
// directory that belongs to no firmware yet. A nil one is none.
type imageCopy struct {
	m    *Manager
	path string
	mark *registry.Mark // should this process die: recoverImage
}

func (m *Manager) images() string { return filepath.Join(m.at.state, "images") }

// copyImage copies a firmware's image, durably, and fills in its checksum. The
// caller discards the copy, also after an error; one that was placed stays.
func (m *Manager) copyImage(ctx context.Context, fw *registry.Firmware, progress func(done, total int64)) (*imageCopy, error) {
	c, err := m.newCopy()
	if err != nil {
		return c, fmt.Errorf("cannot copy image %q: %w", fw.Path, err)
	}
	file, err := os.OpenFile(c.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return c, fmt.Errorf("cannot copy image %q: %w", fw.Path, err)
	}
	fault.Point("add.copying")
	fw.SHA256, fw.Stat, err = hashImage(ctx, fw.Path, file, progress)
	if err == nil {
		err = file.Sync()
	}
	return c, errors.Join(err, file.Close())
}

// newCopy names a copy and marks it; the caller makes it, and discards it also
// after an error.
func (m *Manager) newCopy() (*imageCopy, error) {
	name := ".copy-" + registry.NewID()
	mark, err := m.store.Begin("image." + name)
	if err != nil {
		return nil, err
	}
	return &imageCopy{m: m, path: filepath.Join(m.images(), name), mark: mark}, os.MkdirAll(m.images(), 0o700)
}

// place makes the copy the image of a firmware, which the caller holds
// exclusively and whose record it saves.
func (c *imageCopy) place(fw *registry.Firmware) error {
	if c == nil {
		return nil
	}
	path := filepath.Join(c.m.images(), fw.ID)
	err := os.Rename(c.path, path)
	if err == nil {
		err = registry.SyncDir(c.m.images())
	}
	info, statErr := os.Stat(path)
	if err = errors.Join(err, statErr); err != nil {
		return fmt.Errorf("cannot keep a copy of the image: %w", err)
	}
	fw.Path, fw.Copied = path, true
	if fw.Image {
		stat := statOf(info)
		fw.Stat = &stat
	}
	return nil
}

// discard removes the copy unless it was placed.
func (c *imageCopy) discard() {
	if c == nil {
		return
	}
	if err := mount.RemoveAll(c.path); err != nil {
		c.m.notice(fmt.Sprintf("warning: %v", err))
		c.mark.Abandon()
		return
	}
	c.mark.End()
}
