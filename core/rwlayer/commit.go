// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Commit copies an rw layer into dest, as a layer to be put over lowers: a union
// of it and them shows what one of rw and them does. What was copied up and is as
// it was stays away. dest is an empty directory that nobody else can reach, on a
// file system with trusted attributes; nothing may write to rw meanwhile. What
// was copied before an error stays.
func Commit(ctx context.Context, rw string, lowers []string, dest string) error {
	upper, err := openLayer(unix.AT_FDCWD, rw)
	if err != nil {
		return err
	}
	defer upper.close()
	lower, err := OpenLayers(lowers...)
	if err != nil {
		return err
	}
	defer lower.Close()
	root, err := nodeAt(upper.fd, ".")
	if err != nil {
		return err
	}
	c := committer{newCopier(ctx, dest)}
	if err := c.add("/", root); err != nil {
		return err
	}
	if _, err := c.dir("", 0, upper, lower); err != nil {
		return err
	}
	return c.finish()
}

// Flatten copies the tree that layers, top first, show into dest, with the
// conditions of Commit. progress, if set, is told how many objects are copied of how
// many.
func Flatten(ctx context.Context, layers []string, dest string, progress func(done, total int64)) error {
	c := newCopier(ctx, dest)
	add := c.add
	if progress != nil {
		var done, total int64
		if err := Walk(ctx, layers, func(string, *Node) error { total++; return nil }); err != nil {
			return err
		}
		add = func(path string, n *Node) error {
			done++
			progress(done, total)
			return c.add(path, n)
		}
	}
	if err := Walk(ctx, layers, add); err != nil {
		return err
	}
	return c.finish()
}

type committer struct{ *copier }

// dir copies what is in a directory of rw and says whether there was any need to.
// lower is what the directory is merged with, nil if with nothing.
func (c committer) dir(path string, depth int, upper layerDir, lower *Dir) (kept bool, err error) {
	if err := checkDepth(c.ctx, path, depth); err != nil {
		return false, err
	}
	if upper.opaque == 'y' {
		kept, lower = true, nil
		if err := unix.Lsetxattr(c.dest+path, overlayOpaque, []byte{'y'}, 0); err != nil {
			return true, fmt.Errorf("cannot hide what is below %q: %w", path+"/", err)
		}
	}
	names, err := upper.names()
	if err != nil {
		return kept, fmt.Errorf("cannot read %q: %w", path+"/", err)
	}
	for _, name := range names {
		own, err := c.entry(path+"/"+name, name, depth, upper, lower)
		if err != nil {
			return kept, err
		}
		kept = kept || own
	}
	return kept, nil
}

func (c committer) entry(path, name string, depth int, upper layerDir, lower *Dir) (kept bool, err error) {
	own, err := nodeAt(upper.fd, name)
	if err != nil || own == nil {
		return false, err
	}
	var before *Node
	var sub *Dir
	if lower != nil {
		if before, sub, err = lower.Lookup(name); err != nil {
			return false, fmt.Errorf("cannot look at %q in the firmware: %w", path, err)
		}
		defer sub.Close()
	}
	if upper.isWhiteout(own) {
		if before == nil {
			return false, nil
		}
		return true, unix.Mknod(c.dest+path, unix.S_IFCHR, 0)
	}
	same, err := unchanged(before, own)
	if err != nil {
		return false, fmt.Errorf("cannot compare %q: %w", path, err)
	}
	if !own.IsDir() {
		if same {
			return false, nil
		}
		return true, c.add(path, own)
	}
	next, err := openLayer(upper.fd, name)
	if err != nil {
		return false, fmt.Errorf("cannot read %q: %w", path, err)
	}
	defer next.close()
	pending := len(c.dirs)
	if err := c.add(path, own); err != nil {
		return false, err
	}
	if kept, err = c.dir(path, depth+1, next, sub); err != nil || kept || !same {
		return true, err
	}
	c.dirs = c.dirs[:pending]
	return false, unix.Rmdir(c.dest + path)
}

// unchanged: the lowers show the same. A file with several names is not, as the
// others may be new.
func unchanged(before, own *Node) (bool, error) {
	if before == nil || !own.IsDir() && own.Stat.Nlink > 1 {
		return false, nil
	}
	kinds, err := differences(before, own)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrReplaced) {
		return false, nil
	}
	return len(kinds) == 0, err
}
