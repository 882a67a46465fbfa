// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"context"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// copier fills a directory that nobody else can reach: its paths are what it made
// of them. The directory gets its own look last, which may open it to others.
type copier struct {
	ctx   context.Context
	dest  string
	links map[[2]uint64]string // files with several names, by device and inode
	dirs  []look               // a directory's times are right when its content is

	content content
}

// look is all of an object but its type and content. Attributes that the file
// system of the copy cannot hold are lost, as with cp -a.
type look struct {
	path   string
	stat   unix.Stat_t
	xattrs map[string]string
}

func newCopier(ctx context.Context, dest string) *copier {
	return &copier{ctx: ctx, dest: dest, links: map[[2]uint64]string{}, content: content{ctx: ctx}}
}

// add copies an object, of a directory only itself.
func (c *copier) add(path string, n *Node) error {
	if err := c.copy(path, n); err != nil {
		return fmt.Errorf("cannot copy %q: %w", path, err)
	}
	return nil
}

func (c *copier) copy(path string, n *Node) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	to := c.dest + path
	if n.Stat.Nlink > 1 && !n.IsDir() {
		id := [2]uint64{n.Stat.Dev, n.Stat.Ino}
		if first, again := c.links[id]; again {
			return os.Link(first, to)
		}
		c.links[id] = to
	}
	xattrs, err := n.Xattrs()
	if err != nil {
		return err
	}
	l := look{to, n.Stat, xattrs}
	switch n.Type() {
	case unix.S_IFDIR:
		c.dirs = append(c.dirs, l)
		if path == "/" {
			return nil
		}
		return os.Mkdir(to, 0o700)
	case unix.S_IFREG:
		err = c.content.file(n, unix.AT_FDCWD, to)
	case unix.S_IFLNK:
		var target string
		if target, err = n.Readlink(); err == nil {
			err = os.Symlink(target, to)
		}
	default:
		err = unix.Mknod(to, n.Type()|0o600, int(n.Stat.Rdev))
	}
	if err != nil {
		return err
	}
	return l.apply()
}

// finish gives the directories their look and sees that all of it is on disk.
func (c *copier) finish() error {
	for i := len(c.dirs) - 1; i >= 0; i-- {
		if err := c.dirs[i].apply(); err != nil {
			return err
		}
	}
	dir, err := os.Open(c.dest)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := unix.Syncfs(int(dir.Fd())); err != nil {
		return fmt.Errorf("cannot write %s to disk: %w", c.dest, err)
	}
	return nil
}

func (l look) apply() error {
	return dressAs(unix.AT_FDCWD, l.path, &l.stat, l.xattrs, true)
}
