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

// piece is how much is copied before the context is asked again.
const piece = 8 << 20

// content copies what is in files; the file system that they are on is one.
type content struct {
	ctx     context.Context
	noClone bool // the file system shares no blocks
}

// file makes the regular file to/name with the content of n, sharing its blocks
// where the file system can, and with its holes.
func (c *content) file(n *Node, to int, name string) (err error) {
	from, err := n.Open()
	if err != nil {
		return err
	}
	defer from.Close()
	fd, err := unix.Openat(to, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	out := os.NewFile(uintptr(fd), name)
	defer func() { err = errors.Join(err, out.Close()) }()
	if n.Stat.Size == 0 {
		return nil
	}
	if !c.noClone {
		err := unix.IoctlFileClone(int(out.Fd()), int(from.Fd()))
		if err == nil {
			return nil
		}
		if isFull(err) {
			return err
		}
		// A file system that cannot, or this one file (swap, nodatacow): by copying
		// any of them can.
		c.noClone = errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTTY)
	}
	return c.extents(from, out, n.Stat.Size)
}

// extents copies what is no hole.
func (c *content) extents(from, out *os.File, size int64) error {
	for at := int64(0); at < size; {
		data, err := from.Seek(at, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) { // only a hole is left
			break
		}
		if err != nil {
			return err
		}
		hole, err := from.Seek(data, unix.SEEK_HOLE)
		if err != nil {
			return err
		}
		if err := c.extent(from, out, data, min(hole, size)); err != nil {
			return err
		}
		at = hole
	}
	return out.Truncate(size)
}

func (c *content) extent(from, out *os.File, at, end int64) error {
	for at < end {
		if c.ctx.Err() != nil {
			return context.Cause(c.ctx)
		}
		in, to := at, at
		n, err := unix.CopyFileRange(int(from.Fd()), &in, int(out.Fd()), &to, int(min(end-at, piece)), 0)
		if n == 0 && err == nil {
			return io.ErrUnexpectedEOF
		}
		if err != nil && !isFull(err) { // not every file system, nor every kernel, can
			var copied int64
			copied, err = io.Copy(io.NewOffsetWriter(out, at), io.NewSectionReader(from, at, min(end-at, piece)))
			n = int(copied)
		}
		if err != nil {
			return err
		}
		if at += int64(n); n == 0 {
			return io.ErrUnexpectedEOF
		}
	}
	return nil
}

func isFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

// dressAs gives dir/name the look that st and xattrs are. The owner comes first: a
// change of it takes set-user-id and capabilities away; the mode after the access
// control list, which sets it, too. lossy leaves out attributes that the file
// system cannot hold.
func dressAs(dir int, name string, st *unix.Stat_t, xattrs map[string]string, lossy bool) error {
	if err := unix.Fchownat(dir, name, int(st.Uid), int(st.Gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	link := st.Mode&unix.S_IFMT == unix.S_IFLNK
	if len(xattrs) > 0 || !link {
		fd, err := unix.Openat(dir, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		path := fmt.Sprintf("/proc/self/fd/%d", fd) // leads to the object itself, be it a link
		for key, value := range xattrs {
			if err := unix.Setxattr(path, key, []byte(value), 0); err != nil && !(lossy && errors.Is(err, unix.ENOTSUP)) {
				return fmt.Errorf("attribute %q: %w", key, err)
			}
		}
		if !link {
			if err := unix.Chmod(path, st.Mode&0o7777); err != nil {
				return err
			}
		}
	}
	return unix.UtimesNanoAt(dir, name, []unix.Timespec{st.Atim, st.Mtim}, unix.AT_SYMLINK_NOFOLLOW)
}
