// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// linksSuffix names the directory beside a copy that holds, while it is made, the
// files with names that are still to come.
const linksSuffix = ".links"

// Copy makes to a copy of the rw layer from: all objects, with whiteouts, opaque
// directories, extended attributes of every kind, hard links, modes, owners,
// times and holes. Blocks are shared where the file system can. Nothing may change
// from meanwhile; what is in it may be hostile: no link is followed, no device,
// pipe or socket is opened, and depth costs no descriptors.
//
// to must not exist. After an error it, and to with the suffix .links, may hold a
// part: the caller removes both. Nothing is synced. Needs CAP_SYS_ADMIN in the
// first user namespace, for trusted attributes, and CAP_MKNOD.
func Copy(ctx context.Context, from, to string) (Usage, error) {
	c := &cloner{ctx: ctx, seen: map[uint64]uint64{}, content: content{ctx: ctx}}
	err := c.tree(from, to)
	if err != nil {
		where := "/" + strings.Join(c.path, "/")
		if len(where) > 200 {
			where = where[:200] + "..."
		}
		err = fmt.Errorf("cannot copy %q: %w", where, err)
	}
	return c.usage, err
}

// cloner is at one directory of both trees at a time, and goes up again by "..".
type cloner struct {
	ctx      context.Context
	from, to int      // the directories it is in
	dev      uint64   // of from's file system: the copy is of no other
	path     []string // of what it is at
	links    int      // the directory of files with more names to come, each named by its inode there
	seen     map[uint64]uint64
	content  content
	usage    Usage
}

// level is a directory that is being copied.
type level struct {
	names []string // of entries still to be copied
	st    unix.Stat_t
	copy  uint64 // inode of the copy
}

func (c *cloner) tree(from, to string) (err error) {
	top, err := nodeAt(unix.AT_FDCWD, from)
	if err != nil {
		return err
	}
	if top == nil || !top.IsDir() {
		return unix.ENOTDIR
	}
	c.dev = top.Stat.Dev
	for _, dir := range []string{to, to + linksSuffix} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	if c.links, err = openDir(unix.AT_FDCWD, to+linksSuffix); err != nil {
		return err
	}
	defer unix.Close(c.links)
	if c.from, err = openDir(unix.AT_FDCWD, from); err != nil {
		return err
	}
	defer func() { unix.Close(c.from) }()
	if c.to, err = openDir(unix.AT_FDCWD, to); err != nil {
		return err
	}
	defer func() { unix.Close(c.to) }()
	if err := c.walk(top); err != nil {
		return err
	}
	// What is left there has names outside of the layer.
	return os.RemoveAll(to + linksSuffix)
}

func openDir(at int, name string) (int, error) {
	return unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_NOATIME|unix.O_CLOEXEC, 0)
}

// walk copies what is in the current directory, and below. Its own attributes
// come when it is full, or its times would change again.
func (c *cloner) walk(top *Node) error {
	first, err := c.level(top)
	if err != nil {
		return err
	}
	for stack := []*level{first}; len(stack) > 0; {
		at := stack[len(stack)-1]
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		if len(at.names) == 0 {
			if stack = stack[:len(stack)-1]; len(stack) == 0 {
				return dressLike(c.to, ".", &Node{Stat: at.st, dir: c.from, name: "."})
			}
			if err := c.up(stack[len(stack)-1], at); err != nil {
				return err
			}
			c.path = c.path[:len(c.path)-1]
			continue
		}
		name := at.names[0]
		at.names = at.names[1:]
		c.path = append(c.path, name)
		n, err := nodeAt(c.from, name)
		if err != nil || n == nil {
			return errors.Join(err, ErrReplaced)
		}
		if n.Stat.Dev != c.dev {
			return errors.New("something is mounted there")
		}
		if n.IsDir() {
			next, err := c.down(n)
			if err != nil {
				return err
			}
			stack = append(stack, next)
			continue
		}
		if err := c.object(n); err != nil {
			return err
		}
		c.path = c.path[:len(c.path)-1]
	}
	return nil
}

// level is for the directory that both sides are in.
func (c *cloner) level(n *Node) (*level, error) {
	names, err := layerDir{fd: c.from}.names()
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(c.to, &st); err != nil {
		return nil, err
	}
	c.count(&n.Stat)
	return &level{names: names, st: n.Stat, copy: st.Ino}, nil
}

// down goes into a directory, and makes its copy.
func (c *cloner) down(n *Node) (*level, error) {
	if err := unix.Mkdirat(c.to, n.name, 0o700); err != nil {
		return nil, err
	}
	from, err := openDir(c.from, n.name)
	if err != nil {
		return nil, err
	}
	to, err := openDir(c.to, n.name)
	if err != nil {
		unix.Close(from)
		return nil, err
	}
	c.enter(from, to)
	return c.level(n)
}

func (c *cloner) enter(from, to int) {
	unix.Close(c.from)
	unix.Close(c.to)
	c.from, c.to = from, to
}

// up leaves a directory that is full for the one above it, which must be the one
// that it was entered from.
func (c *cloner) up(above, full *level) error {
	if err := dressLike(c.to, ".", &Node{Stat: full.st, dir: c.from, name: "."}); err != nil {
		return err
	}
	from, err := sameDir(c.from, above.st.Ino)
	if err != nil {
		return err
	}
	to, err := sameDir(c.to, above.copy)
	if err != nil {
		unix.Close(from)
		return err
	}
	c.enter(from, to)
	return nil
}

func sameDir(below int, ino uint64) (int, error) {
	fd, err := openDir(below, "..")
	if err != nil {
		return -1, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Ino != ino {
		unix.Close(fd)
		return -1, errors.Join(err, ErrReplaced)
	}
	return fd, nil
}

// object copies anything but a directory. One of several names is made where names
// of its kind wait, and linked from there; the last name takes it away from there.
func (c *cloner) object(n *Node) error {
	if n.Stat.Nlink == 1 {
		c.count(&n.Stat)
		return c.make(n, c.to, n.name)
	}
	waiting := strconv.FormatUint(n.Stat.Ino, 10)
	c.seen[n.Stat.Ino]++
	switch c.seen[n.Stat.Ino] {
	case 1:
		c.count(&n.Stat)
		if err := c.make(n, c.links, waiting); err != nil {
			return err
		}
	case uint64(n.Stat.Nlink): // 32 bits on arm64
		delete(c.seen, n.Stat.Ino)
		return unix.Renameat(c.links, waiting, c.to, n.name)
	}
	return unix.Linkat(c.links, waiting, c.to, n.name, 0)
}

func (c *cloner) make(n *Node, to int, name string) error {
	var err error
	switch n.Type() {
	case unix.S_IFREG:
		err = c.content.file(n, to, name)
	case unix.S_IFLNK:
		var target string
		if target, err = n.Readlink(); err == nil {
			err = unix.Symlinkat(target, to, name)
		}
	default:
		err = unix.Mknodat(to, name, n.Type()|0o600, int(n.Stat.Rdev))
	}
	if err != nil {
		return err
	}
	return dressLike(to, name, n)
}

// dressLike gives dir/name all that n looks like; the layer's own attributes, too.
func dressLike(dir int, name string, n *Node) error {
	all, err := n.allXattrs()
	if err != nil {
		return err
	}
	return dressAs(dir, name, &n.Stat, all, false)
}

// count is as in measure, each object once.
func (c *cloner) count(st *unix.Stat_t) {
	c.usage.Bytes += st.Blocks * 512
	c.usage.Inodes++
}
