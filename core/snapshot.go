// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/fault"
	"firmwared/core/mount"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// Snapshot is the record of a copy of an instance's rw layer; the names in JSON
// are promised.
type Snapshot struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
	State   State     `json:"state"` // of the instance at that moment
	Bytes   int64     `json:"bytes"` // that the layer took on disk; blocks may be shared with it
	Inodes  int64     `json:"inodes"`
}

// A snapshot is a directory of the workspace, below snapshots, that holds the copy
// (rw) and the record. One that is being made or removed has a name with a dot in
// front.
func (l layout) snapshots(id string) string { return filepath.Join(l.workspace(id), "snapshots") }

func (l layout) snapshot(id, name string) string { return filepath.Join(l.snapshots(id), name) }

const (
	snapshotRecord = "snapshot.json"
	unfinished     = "." // what a name begins with that is no snapshot yet, or no longer
)

// incoming is where a rw layer is made that is to take the place of the present one.
func (l layout) incoming(id string) string { return filepath.Join(l.workspace(id), "rw.incoming") }

// Snapshot copies an instance's rw layer and returns the record. name may be "":
// then the time is its name. A running instance is frozen while the copy is made.
// Needs Enter.
func (m *Manager) Snapshot(ctx context.Context, inst *registry.Instance, name string) (s Snapshot, err error) {
	if name != "" {
		if err := registry.CheckName(name); err != nil {
			return s, fmt.Errorf("cannot take a snapshot of instance %s: %w", inst.Name, err)
		}
	}
	err = m.change(ctx, inst, func() error {
		s = Snapshot{Name: name, Created: time.Now(), State: m.Show(inst).State}
		if name == "" {
			s.Name = m.freeSnapshotName(inst.ID, s.Created)
		}
		mark, err := m.store.Begin("instance." + inst.ID)
		if err != nil {
			return err
		}
		defer mark.End()
		if err := m.takeSnapshot(ctx, inst, &s); err != nil {
			return fmt.Errorf("cannot take snapshot %s of instance %s: %w", s.Name, inst.Name, err)
		}
		return nil
	})
	return s, err
}

func (m *Manager) freeSnapshotName(id string, now time.Time) string {
	base := now.Format("20060102-150405")
	name := base
	for i := 2; ; i++ {
		if _, err := os.Lstat(m.at.snapshot(id, name)); err != nil {
			return name
		}
		name = fmt.Sprintf("%s-%d", base, i)
	}
}

func (m *Manager) takeSnapshot(ctx context.Context, inst *registry.Instance, s *Snapshot) (err error) {
	if _, err := os.Lstat(m.at.snapshot(inst.ID, s.Name)); err == nil {
		return errors.New("there is one of that name; remove it or choose another name")
	}
	making := m.at.snapshot(inst.ID, unfinished+registry.NewID())
	if err := os.MkdirAll(making, 0o700); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, mount.RemoveAll(making))
		}
	}()
	usage, err := m.copyLayer(ctx, inst, filepath.Join(making, "rw"))
	if err != nil {
		return err
	}
	fault.Point("snapshot.copied")
	s.Bytes, s.Inodes = usage.Bytes, usage.Inodes
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(making, snapshotRecord), append(data, '\n'), 0o600); err != nil {
		return err
	}
	// A snapshot that has its name must survive a power cut as it is.
	if err := syncAll(making); err != nil {
		return err
	}
	if err := os.Rename(making, m.at.snapshot(inst.ID, s.Name)); err != nil {
		return err
	}
	fault.Point("snapshot.placed")
	return registry.SyncDir(m.at.snapshots(inst.ID))
}

// copyLayer copies an instance's rw layer to a directory that does not exist; what
// an error leaves there is the caller's to remove. The caller holds the instance
// exclusively and has a mark on it.
//
// Nothing is synced first: a union writes through to the files of rw, so their
// pages are the same, and a reader of rw sees all that was written.
func (m *Manager) copyLayer(ctx context.Context, inst *registry.Instance, to string) (usage rwlayer.Usage, err error) {
	err = m.whileFrozen(ctx, inst, func() error {
		usage, err = rwlayer.Copy(ctx, m.at.rw(inst.ID), to)
		return err
	})
	return usage, err
}

// syncAll brings the file system that dir is on to its disk.
func syncAll(dir string) error {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Syncfs(fd)
}

// Snapshots lists those of an instance, oldest first. It takes no lock. One that
// cannot be read is named in the error beside the others.
func (m *Manager) Snapshots(inst *registry.Instance) ([]Snapshot, error) {
	all := []Snapshot{}
	entries, err := os.ReadDir(m.at.snapshots(inst.ID))
	if errors.Is(err, os.ErrNotExist) {
		return all, nil
	}
	errs := []error{err}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), unfinished) {
			continue
		}
		s, err := m.readSnapshot(inst, entry.Name())
		if errors.Is(err, errNoSnapshot) {
			continue // removed meanwhile
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		all = append(all, s)
	}
	slices.SortStableFunc(all, func(a, b Snapshot) int { return a.Created.Compare(b.Created) })
	return all, errors.Join(errs...)
}

var errNoSnapshot = errors.New("there is no snapshot of that name (firmwared snapshot --list shows them)")

func (m *Manager) readSnapshot(inst *registry.Instance, name string) (s Snapshot, err error) {
	if registry.CheckName(name) != nil {
		return s, errNoSnapshot
	}
	data, err := os.ReadFile(filepath.Join(m.at.snapshot(inst.ID, name), snapshotRecord))
	if errors.Is(err, os.ErrNotExist) {
		return s, errNoSnapshot
	}
	if err == nil {
		err = json.Unmarshal(data, &s)
	}
	if err == nil && s.Name != name {
		err = fmt.Errorf("its record says that its name is %q", s.Name)
	}
	if err != nil {
		return s, fmt.Errorf("snapshot %s of instance %s is broken: %w", name, inst.Name, cause(err))
	}
	return s, nil
}

// RemoveSnapshot removes one. Needs Enter.
func (m *Manager) RemoveSnapshot(ctx context.Context, inst *registry.Instance, name string) error {
	return m.change(ctx, inst, func() error {
		mark, err := m.store.Begin("instance." + inst.ID)
		if err != nil && !isFull(err) { // it makes room
			return err
		}
		defer mark.End()
		if registry.CheckName(name) != nil {
			err = errNoSnapshot
		} else {
			err = os.Rename(m.at.snapshot(inst.ID, name), m.at.snapshot(inst.ID, unfinished+registry.NewID()))
			if errors.Is(err, os.ErrNotExist) {
				err = errNoSnapshot
			}
		}
		fault.Point("snapshot.condemned")
		if err = errors.Join(err, m.clearCopies(inst.ID)); err != nil {
			return fmt.Errorf("cannot remove snapshot %s of instance %s: %w", quote(name), inst.Name, err)
		}
		return nil
	})
}

// copiesOf lists what killed commands left in a workspace: layers that were to come
// or to go.
func (m *Manager) copiesOf(id string) (left []string) {
	for _, pattern := range []string{m.at.incoming(id) + "*", m.at.discarded(id), m.at.snapshot(id, unfinished+"*")} {
		paths, _ := filepath.Glob(pattern)
		left = append(left, paths...)
	}
	return left
}

// clearCopies removes them. The caller holds the instance exclusively.
func (m *Manager) clearCopies(id string) error {
	var errs []error
	for _, path := range m.copiesOf(id) {
		errs = append(errs, mount.RemoveAll(path))
	}
	return errors.Join(errs...)
}
