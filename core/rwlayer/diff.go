// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// What happened to a path.
const (
	Added   = "added"
	Changed = "changed"
	Deleted = "deleted"
)

// In what a changed path differs, in the order in which they are listed.
const (
	KindType    = "type" // then nothing else is compared
	KindContent = "content"
	KindMode    = "mode"
	KindOwner   = "owner"
	KindXattr   = "xattr"
)

// Change is one path that differs between the lowers and the merged tree.
type Change struct {
	Path   string // in the instance, absolute; any bytes but zero
	What   string // Added, Changed, Deleted
	Kinds  []string
	Before *Node // nil if added
	After  *Node // nil if deleted
}

// deepest is that of the longest path that a program can name (PATH_MAX); it
// also bounds the open descriptors.
const deepest = unix.PathMax / 2

// Diff compares the tree that rw over lowers (top first) shows with that of the
// lowers alone, and calls emit for each difference: a directory before what is
// in it, names in the order of bytes. It reads only rw and what that hides, so
// its cost follows the number of changes. Under a running instance it may see
// one change and not another of the same moment.
//
// Both must be as overlayfs keeps them, without redirect_dir and metacopy. Needs
// CAP_SYS_ADMIN in the first user namespace, for trusted attributes.
func Diff(ctx context.Context, rw string, lowers []string, emit func(Change) error) error {
	return DiffAndLinks(ctx, rw, lowers, emit, func(string, *Node) {})
}

// DiffAndLinks is Diff that also tells of what equals the lowers' and has several names
// in rw: one of them may be new.
func DiffAndLinks(ctx context.Context, rw string, lowers []string, emit func(Change) error, linked func(path string, n *Node)) error {
	upper, err := OpenLayers(rw)
	if err != nil {
		return err
	}
	defer upper.Close()
	lower, err := OpenLayers(lowers...)
	if err != nil {
		return err
	}
	defer lower.Close()
	before, err := lower.root()
	if err != nil {
		return err
	}
	after, err := upper.root()
	if err != nil {
		return err
	}
	d := &differ{ctx: ctx, emit: emit, linked: linked}
	if err := d.compare("/", before, after); err != nil {
		return err
	}
	return d.dir("", 0, upper.layers[0], lower, false)
}

type differ struct {
	ctx    context.Context
	emit   func(Change) error
	linked func(path string, n *Node)
}

// dir compares what is in a directory of rw with the lowers' twin, which is nil
// if there is none. bare says that the union does not show the twin's entries.
func (d *differ) dir(path string, depth int, upper layerDir, lower *Dir, bare bool) error {
	if err := checkDepth(d.ctx, path, depth); err != nil {
		return err
	}
	names, err := upper.names()
	bare = bare || upper.opaque == 'y'
	if bare && lower != nil && err == nil {
		var hidden []string
		hidden, err = lower.Names()
		names = append(names, hidden...)
	}
	if err != nil {
		return fmt.Errorf("cannot read %q: %w", path+"/", err)
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		if err := d.entry(path+"/"+name, name, depth, upper, lower, bare); err != nil {
			return err
		}
	}
	return nil
}

// entry compares one name of a directory.
func (d *differ) entry(path, name string, depth int, upper layerDir, lower *Dir, bare bool) error {
	after, err := nodeAt(upper.fd, name)
	if err != nil {
		return fmt.Errorf("cannot look at %q: %w", path, err)
	}
	if after == nil && !bare {
		return nil // gone since it was listed
	}
	if after != nil && upper.isWhiteout(after) {
		after = nil
	}
	var before *Node
	var sub *Dir
	if lower != nil {
		if before, sub, err = lower.Lookup(name); err != nil {
			return fmt.Errorf("cannot look at %q in the firmware: %w", path, err)
		}
		defer sub.Close()
	}
	switch {
	case before == nil && after == nil:
		return nil
	case after == nil:
		return d.deleted(path, depth, before, sub)
	}
	if err := d.compare(path, before, after); err != nil {
		return err
	}
	if sub != nil && !after.IsDir() {
		return d.below(path, depth, sub)
	}
	if !after.IsDir() {
		return nil
	}
	dir, err := openLayer(upper.fd, name)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
		return nil // it was a directory a moment ago
	}
	if err != nil {
		return fmt.Errorf("cannot read %q: %w", path, err)
	}
	defer unix.Close(dir.fd)
	return d.dir(path, depth+1, dir, sub, bare)
}

// deleted tells of a lower object that is gone, and of all that was in it.
func (d *differ) deleted(path string, depth int, n *Node, sub *Dir) error {
	if err := d.emit(Change{Path: path, What: Deleted, Before: n}); err != nil || sub == nil {
		return err
	}
	return d.below(path, depth, sub)
}

func (d *differ) below(path string, depth int, dir *Dir) error {
	return walk(d.ctx, path, depth, dir, func(path string, n *Node) error {
		return d.emit(Change{Path: path, What: Deleted, Before: n})
	})
}

// compare tells of an object of rw, unless it equals the lowers' one.
func (d *differ) compare(path string, before, after *Node) error {
	if before == nil {
		return d.emit(Change{Path: path, What: Added, After: after})
	}
	kinds, err := differences(before, after)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrReplaced) {
		kinds, err = []string{KindContent}, nil // it is being changed this very moment
	}
	if err != nil {
		return fmt.Errorf("cannot compare %q: %w", path, err)
	}
	if len(kinds) == 0 {
		if !after.IsDir() && after.Stat.Nlink > 1 {
			d.linked(path, after)
		}
		return nil
	}
	return d.emit(Change{Path: path, What: Changed, Kinds: kinds, Before: before, After: after})
}

func differences(before, after *Node) (kinds []string, err error) {
	b, a := &before.Stat, &after.Stat
	if before.Type() != after.Type() {
		return []string{KindType}, nil
	}
	content, err := contentDiffers(before, after)
	if err != nil {
		return nil, err
	}
	if content {
		kinds = append(kinds, KindContent)
	}
	if b.Mode != a.Mode {
		kinds = append(kinds, KindMode)
	}
	if b.Uid != a.Uid || b.Gid != a.Gid {
		kinds = append(kinds, KindOwner)
	}
	was, err := before.Xattrs()
	if err != nil {
		return nil, err
	}
	is, err := after.Xattrs()
	if err != nil {
		return nil, err
	}
	if !maps.Equal(was, is) {
		kinds = append(kinds, KindXattr)
	}
	return kinds, nil
}

func contentDiffers(before, after *Node) (bool, error) {
	switch before.Type() {
	case unix.S_IFREG:
		if before.Stat.Size != after.Stat.Size {
			return true, nil
		}
		return bytesDiffer(before, after)
	case unix.S_IFLNK:
		was, err := before.Readlink()
		if err != nil {
			return false, err
		}
		is, err := after.Readlink()
		return was != is, err
	case unix.S_IFCHR, unix.S_IFBLK:
		return before.Stat.Rdev != after.Stat.Rdev, nil
	}
	return false, nil
}

func bytesDiffer(before, after *Node) (bool, error) {
	was, err := before.Open()
	if err != nil {
		return false, err
	}
	defer was.Close()
	is, err := after.Open()
	if err != nil {
		return false, err
	}
	defer is.Close()
	if n, _ := unix.Fgetxattr(int(is.Fd()), overlayMetacopy, nil); n > 0 {
		return false, errForeign
	}
	return streamsDiffer(was, is)
}

func streamsDiffer(a, b io.Reader) (bool, error) {
	var bufA, bufB [64 << 10]byte
	for {
		n, errA := io.ReadFull(a, bufA[:])
		m, errB := io.ReadFull(b, bufB[:])
		if n != m || !bytes.Equal(bufA[:n], bufB[:m]) {
			return true, nil
		}
		endA := errors.Is(errA, io.EOF) || errors.Is(errA, io.ErrUnexpectedEOF)
		endB := errors.Is(errB, io.EOF) || errors.Is(errB, io.ErrUnexpectedEOF)
		switch {
		case errA != nil && !endA:
			return false, errA
		case errB != nil && !endB:
			return false, errB
		case endA || endB:
			return endA != endB, nil
		}
	}
}
