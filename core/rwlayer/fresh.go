// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// View is a mounted union and the layers that it was made of.
type View struct {
	Union  string
	RW     string
	Lowers []string // top first
	Since  unix.Timespec
}

// Freshness is how a union stands to its lowers as they are now.
type Freshness struct {
	Changed  int      // objects of the lowers, directories left out, that were made or changed since View.Since
	Stale    []string // paths where the union does not show what the lowers have
	Shadowed []string // paths that changed in the lowers after the instance had made its own of them
}

// Check compares what a union shows with what its lowers hold, file by file, by
// inode number: overlayfs shows a lower file under its own (without xino, or
// where one file system holds all layers). A directory that shows nothing of
// what is in it stands for all of that. It sees neither a path that the lowers
// lost, nor what an object's content is: see Gone for the first; the second is
// shown at once.
func (v View) Check(ctx context.Context) (Freshness, error) { return v.check(ctx, false) }

func (v View) check(ctx context.Context, thorough bool) (Freshness, error) {
	c := checker{ctx: ctx, since: v.Since, thorough: thorough}
	dirs := make([]*Dir, 0, 3)
	defer func() {
		for _, d := range dirs {
			d.Close()
		}
	}()
	for _, layers := range [][]string{v.Lowers, {v.RW}, {v.Union}} {
		d, err := OpenLayers(layers...)
		if err != nil {
			return c.found, err
		}
		dirs = append(dirs, d)
	}
	err := c.dir("", 0, dirs[0], &dirs[1].layers[0], dirs[2].layers[0].fd)
	return c.found, err
}

type checker struct {
	ctx      context.Context
	since    unix.Timespec
	found    Freshness
	thorough bool // test: look everything up
}

// dir looks at one directory: of the lowers, of rw if that has it, of the union, or
// notCached where the kernel knows nothing old of that.
func (c *checker) dir(path string, depth int, lower *Dir, upper *layerDir, union int) error {
	if err := c.ctx.Err(); err != nil || depth > deepest {
		return err
	}
	names, err := lower.Names()
	if err != nil {
		return fmt.Errorf("cannot read %q in the firmware: %w", path+"/", err)
	}
	before, seen := len(c.found.Stale), false
	look := c.looker(lower, upper, union, names)
	for _, name := range names {
		v, err := c.entry(path+"/"+name, name, depth, lower, upper, union, look)
		if err != nil {
			return err
		}
		seen = seen || v == fresh || v == stale
	}
	if !seen && path != "" && len(c.found.Stale) > before {
		c.found.Stale = append(c.found.Stale[:before], path) // made anew below the union, which shows the old one
	}
	return nil
}

// verdict is what an entry of the lowers is to the union.
type verdict int

const (
	hidden verdict = iota // by the instance's own, or gone
	fresh
	stale
	missing // nothing is seen where something is
)

func (c *checker) entry(path, name string, depth int, lower *Dir, upper *layerDir, union int, look looker) (verdict, error) {
	n, sub, err := lower.Lookup(name)
	if err != nil || n == nil {
		return hidden, err
	}
	defer sub.Close()
	if !n.IsDir() && !before(n.Stat.Ctim, c.since) {
		c.found.Changed++
	}
	own, below, err := c.own(name, upper)
	if err != nil {
		return hidden, err
	}
	defer below.close()
	if own != nil && (below == nil || !n.IsDir() || below.opaque == 'y') {
		if c.isNewer(n, own, upper.isWhiteout(own)) && !n.IsDir() {
			c.found.Shadowed = append(c.found.Shadowed, path)
		}
		return hidden, nil
	}
	seen, err := look(union, name)
	if errors.Is(err, errNotCached) {
		if n.IsDir() {
			err = c.dir(path, depth+1, sub, below, notCached)
		} else {
			err = nil
		}
		return fresh, err
	}
	if err != nil && !errors.Is(err, unix.ESTALE) {
		return hidden, fmt.Errorf("cannot look at %q in the instance: %w", path, err)
	}
	if seen == nil {
		c.found.Stale = append(c.found.Stale, path)
		return missing, nil
	}
	if seen.Type() != n.Type() || !n.IsDir() && seen.Stat.Ino != n.Stat.Ino {
		c.found.Stale = append(c.found.Stale, path)
		return stale, nil
	}
	if !n.IsDir() {
		return fresh, nil
	}
	dir, err := openLayer(union, name)
	if err != nil {
		return hidden, ignoreVanished(err)
	}
	defer dir.close()
	staleBefore := len(c.found.Stale)
	if err := c.dir(path, depth+1, sub, below, dir.fd); err != nil {
		return hidden, err
	}
	if len(c.found.Stale) == staleBefore+1 && c.found.Stale[staleBefore] == path {
		return missing, nil
	}
	return fresh, nil
}

// own is what the instance has of a name, opened if it is a directory.
func (c *checker) own(name string, upper *layerDir) (*Node, *layerDir, error) {
	if upper == nil {
		return nil, nil, nil
	}
	n, err := nodeAt(upper.fd, name)
	if err != nil || n == nil || !n.IsDir() {
		return n, nil, err
	}
	dir, err := openLayer(upper.fd, name)
	if err != nil {
		return n, nil, ignoreVanished(err)
	}
	return n, &dir, nil
}

// isNewer says whether the lower object changed after the instance's own was
// made. Without a time of birth, and whiteouts share one inode, it is the time of
// the mount that counts.
func (c *checker) isNewer(lower, own *Node, whiteout bool) bool {
	since := c.since
	var sx unix.Statx_t
	if !whiteout && unix.Statx(own.dir, own.name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME, &sx) == nil && sx.Mask&unix.STATX_BTIME != 0 {
		since = unix.Timespec{Sec: sx.Btime.Sec, Nsec: int64(sx.Btime.Nsec)}
	}
	return !before(lower.Stat.Ctim, since)
}

func before(a, b unix.Timespec) bool {
	return a.Sec < b.Sec || a.Sec == b.Sec && a.Nsec < b.Nsec
}

func ignoreVanished(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ESTALE) {
		return nil
	}
	return err
}

// Gone picks, of some paths, those that the union still shows though neither the
// lowers nor rw have them any more: somebody holds them.
func (v View) Gone(paths []string) ([]string, error) {
	layers, err := OpenLayers(append([]string{v.RW}, v.Lowers...)...)
	if err != nil {
		return nil, err
	}
	defer layers.Close()
	union, err := OpenLayers(v.Union)
	if err != nil {
		return nil, err
	}
	defer union.Close()
	var gone []string
	for _, path := range paths {
		if has, err := union.Has(path); err != nil || !has {
			continue
		}
		if has, err := layers.Has(path); err == nil && !has {
			gone = append(gone, path)
		}
	}
	return gone, nil
}

// Rewritten picks, of some paths, those of regular files in the lowers that changed
// since View.Since.
func (v View) Rewritten(paths []string) ([]string, error) {
	lowers, err := OpenLayers(v.Lowers...)
	if err != nil {
		return nil, err
	}
	defer lowers.Close()
	var rewritten []string
	for _, path := range paths {
		st, err := lowers.stat(path)
		if err == nil && st != nil && st.Mode&unix.S_IFMT == unix.S_IFREG && !before(st.Ctim, v.Since) {
			rewritten = append(rewritten, path)
		}
	}
	return rewritten, nil
}

// Has says whether the tree has an object at an absolute path. A symbolic link on
// the way is not followed: it is not a directory.
func (d *Dir) Has(path string) (bool, error) {
	st, err := d.stat(path)
	return st != nil, err
}

// stat is nil for what the tree does not have; see Has.
func (d *Dir) stat(path string) (*unix.Stat_t, error) {
	names := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	at := d
	for i, name := range names {
		n, sub, err := at.Lookup(name)
		if at != d {
			at.Close()
		}
		if err != nil || n == nil || i == len(names)-1 {
			sub.Close()
			if err != nil || n == nil {
				return nil, err
			}
			return &n.Stat, nil
		}
		if sub == nil {
			return nil, nil
		}
		at = sub
	}
	n, err := d.root()
	if err != nil {
		return nil, err
	}
	return &n.Stat, nil
}
