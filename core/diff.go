// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/bmatcuk/doublestar/v4"
	"golang.org/x/sys/unix"

	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// Difference is one path that an instance has changed; the names in JSON are
// promised.
type Difference struct {
	Path       string   `json:"path"`
	PathBase64 string   `json:"path_base64,omitempty"` // its bytes, if they are no UTF-8
	Change     string   `json:"change"`                // added, changed or deleted
	Kinds      []string `json:"kinds"`                 // of a changed path: type content mode owner xattr
	Type       string   `json:"type"`                  // of what is there now, or was
	SizeBefore *int64   `json:"size_before"`           // of a regular file
	Size       *int64   `json:"size"`

	change rwlayer.Change
}

// DiffOptions choose what of a diff is wanted.
type DiffOptions struct {
	Paths  []string // only these and what is below them; none: all
	Ignore []string // globs; see ignored
}

// Diff calls emit for each path in which an instance differs from its firmware,
// a directory before what is in it. It takes no lock while it looks, so a running
// instance goes on, and may be seen in the middle of a change. One that is
// unmounted is mounted. Needs Enter.
func (m *Manager) Diff(ctx context.Context, inst *registry.Instance, o DiffOptions, emit func(Difference) error) error {
	if err := o.check(); err != nil {
		return err
	}
	err := m.onLayers(ctx, inst, func(u union) error {
		lowers, err := m.lowerDirs(u)
		if err != nil {
			return err
		}
		return rwlayer.Diff(ctx, m.at.rw(inst.ID), lowers, func(c rwlayer.Change) error {
			if !o.wants(c.Path) {
				return nil
			}
			return emit(newDifference(c))
		})
	})
	if err != nil {
		return fmt.Errorf("cannot tell what instance %s changed: %w", inst.Name, err)
	}
	return nil
}

// onLayers lets look read an instance's layers, mounted if they were not. No lock
// is held meanwhile: it is an error if the union did not stay.
func (m *Manager) onLayers(ctx context.Context, inst *registry.Instance, look func(union) error) error {
	u, err := m.mounted(ctx, inst)
	if err != nil {
		return err
	}
	err = look(u)
	if now, found := m.readUnion(inst.ID); !found || now.MountID != u.MountID {
		err = errors.Join(err, errors.New("it was dropped or mounted anew meanwhile"))
	}
	return err
}

// mounted returns an instance's union, mounted if it was not.
func (m *Manager) mounted(ctx context.Context, inst *registry.Instance) (u union, err error) {
	err = m.change(ctx, inst, func() error {
		var found bool
		if u, found = m.readUnion(inst.ID); found && m.unionMounted(inst.ID, u) {
			return nil
		}
		mark, err := m.store.Begin("instance." + inst.ID)
		if err != nil {
			return err
		}
		defer mark.End()
		p, _ := m.planWalls(false)
		err = m.ensureUnion(ctx, inst, p, false, reasonRecover)
		u, _ = m.readUnion(inst.ID)
		return err
	})
	return u, err
}

func (o DiffOptions) check() error {
	for _, p := range o.Paths {
		if !strings.HasPrefix(p, "/") {
			return fmt.Errorf("path %s is not absolute: it is one of the instance's", quote(p))
		}
	}
	for _, glob := range o.Ignore {
		if !doublestar.ValidatePattern(glob) {
			return fmt.Errorf("%s is no glob pattern", quote(glob))
		}
	}
	return nil
}

func (o DiffOptions) wants(p string) bool {
	for _, glob := range o.Ignore {
		if ignored(glob, p) {
			return false
		}
	}
	for _, prefix := range o.Paths {
		if prefix = path.Clean(prefix); prefix == "/" || p == prefix || strings.HasPrefix(p, prefix+"/") {
			return true
		}
	}
	return len(o.Paths) == 0
}

// ignored says whether a glob covers a path or a directory above it. As git's, a
// glob without a slash is matched with each name alone, another one with the
// whole path, and ** with any number of directories.
func ignored(glob, p string) bool {
	whole := strings.Contains(glob, "/")
	glob = strings.TrimPrefix(glob, "/")
	for p = strings.TrimPrefix(p, "/"); p != "" && p != "."; p = path.Dir(p) {
		name := p
		if !whole {
			name = path.Base(p)
		}
		if doublestar.MatchUnvalidated(glob, name) {
			return true
		}
	}
	return false
}

func newDifference(c rwlayer.Change) Difference {
	d := Difference{Path: c.Path, Change: c.What, Kinds: c.Kinds, change: c}
	if d.Kinds == nil {
		d.Kinds = []string{}
	}
	if !utf8.ValidString(c.Path) {
		d.Path = strings.ToValidUTF8(c.Path, "\uFFFD")
		d.PathBase64 = base64.StdEncoding.EncodeToString([]byte(c.Path))
	}
	for _, n := range []*rwlayer.Node{c.Before, c.After} {
		if n != nil {
			d.Type = typeName(n)
		}
	}
	d.SizeBefore, d.Size = fileSize(c.Before), fileSize(c.After)
	return d
}

// RawPath is the path's own bytes.
func (d Difference) RawPath() string { return d.change.Path }

func fileSize(n *rwlayer.Node) *int64 {
	if n == nil || n.Type() != unix.S_IFREG {
		return nil
	}
	size := n.Stat.Size
	return &size
}

var typeNames = map[uint32]string{
	unix.S_IFREG: "file", unix.S_IFDIR: "directory", unix.S_IFLNK: "symlink", unix.S_IFIFO: "fifo",
	unix.S_IFSOCK: "socket", unix.S_IFCHR: "character device", unix.S_IFBLK: "block device",
}

func typeName(n *rwlayer.Node) string { return typeNames[n.Type()] }

// vanished says whether an error only means that a running instance was faster.
func vanished(err error) bool {
	return errors.Is(err, os.ErrNotExist) || errors.Is(err, rwlayer.ErrReplaced)
}
