// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"context"
	"errors"
	"fmt"
	"io"
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
}

// look is all of an object but its type and content.
type look struct {
	path   string
	stat   unix.Stat_t
	xattrs map[string]string
}

func newCopier(ctx context.Context, dest string) *copier {
	return &copier{ctx: ctx, dest: dest, links: map[[2]uint64]string{}}
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
		err = c.file(n, to)
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

// apply: the owner comes first, a change of it takes set-user-id and capabilities
// away. Attributes that the file system cannot hold are lost, as with cp -a.
func (l look) apply() error {
	if err := os.Lchown(l.path, int(l.stat.Uid), int(l.stat.Gid)); err != nil {
		return err
	}
	for name, value := range l.xattrs {
		if err := unix.Lsetxattr(l.path, name, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("cannot set attribute %q of %s: %w", name, l.path, err)
		}
	}
	if l.stat.Mode&unix.S_IFMT != unix.S_IFLNK {
		if err := unix.Chmod(l.path, l.stat.Mode&0o7777); err != nil {
			return err
		}
	}
	return unix.UtimesNanoAt(unix.AT_FDCWD, l.path, []unix.Timespec{l.stat.Atim, l.stat.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}

func (c *copier) file(n *Node, to string) error {
	from, err := n.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	file, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	// Where the file system can, both share their blocks from now on.
	if unix.IoctlFileClone(int(file.Fd()), int(from.Fd())) != nil {
		err = c.content(file, from, n.Stat.Size)
	}
	return errors.Join(err, file.Close())
}

// copyStep is how much is copied before the context is asked again.
const copyStep = 64 << 20

// content copies the data of a file and leaves its holes.
func (c *copier) content(to, from *os.File, size int64) error {
	for at := int64(0); at < size; {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		data, err := unix.Seek(int(from.Fd()), at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			break // a hole up to the end
		}
		end := size
		if err != nil {
			data = at // a file system that does not tell
		} else if hole, err := unix.Seek(int(from.Fd()), data, unix.SEEK_HOLE); err == nil {
			end = hole
		}
		if at, err = copyPart(to, from, data, min(end-data, copyStep)); errors.Is(err, io.EOF) {
			break // it became shorter
		} else if err != nil {
			return err
		}
	}
	return to.Truncate(size)
}

// copyPart returns where it got to.
func copyPart(to, from *os.File, at, size int64) (int64, error) {
	for _, file := range []*os.File{to, from} {
		if _, err := file.Seek(at, io.SeekStart); err != nil {
			return at, err
		}
	}
	n, err := io.CopyN(to, from, size) // by copy_file_range(2)
	return at + n, err
}
