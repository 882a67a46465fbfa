// SPDX-License-Identifier: Apache-2.0

// Package rwlayer knows an instance's rw layer, the upper of its union: how it
// is made, and how to see that a union writes to it. All of it may have been
// written by a hostile instance; nothing here follows a link in it.
package rwlayer

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Make makes the directory of a rw layer, unless it is there, with the owner,
// mode, extended attributes and times of the root of the lower: the merged root
// takes them from the upper.
func Make(rw, lower string) error {
	if err := os.Mkdir(rw, 0o700); err != nil {
		if errors.Is(err, os.ErrExist) {
			return nil
		}
		return err
	}
	err := dress(rw, lower)
	if err != nil {
		err = errors.Join(fmt.Errorf("cannot give %s the attributes of %s: %w", rw, lower, err), os.Remove(rw))
	}
	return err
}

func dress(rw, lower string) error {
	info, err := os.Stat(lower)
	if err != nil {
		return err
	}
	st := info.Sys().(*syscall.Stat_t)
	if err := os.Chown(rw, int(st.Uid), int(st.Gid)); err != nil {
		return err
	}
	if err := os.Chmod(rw, info.Mode()); err != nil {
		return err
	}
	if err := copyXattrs(rw, lower); err != nil {
		return err
	}
	times := []unix.Timespec{unix.Timespec(st.Atim), unix.Timespec(st.Mtim)}
	return unix.UtimesNanoAt(unix.AT_FDCWD, rw, times, unix.AT_SYMLINK_NOFOLLOW)
}

// copyXattrs copies what the file system of rw can hold.
func copyXattrs(rw, lower string) error {
	list := make([]byte, 64<<10)
	n, err := unix.Llistxattr(lower, list)
	if err == unix.ENOTSUP {
		return nil
	}
	if err != nil {
		return err
	}
	value := make([]byte, 64<<10)
	for _, name := range strings.Split(strings.TrimRight(string(list[:n]), "\x00"), "\x00") {
		if name == "" || strings.HasPrefix(name, "trusted.overlay.") || strings.HasPrefix(name, "user.overlay.") {
			continue
		}
		size, err := unix.Lgetxattr(lower, name, value)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if err := unix.Lsetxattr(rw, name, value[:size], 0); err != nil && err != unix.ENOTSUP {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// probe is the attribute that Verify sets for a moment. It is no overlay's own,
// so a union passes it on; setting it leaves the times that users see alone.
const probe = "trusted.firmwared.probe"

// writeNameless writes to a file without a name in dir.
func writeNameless(dir string) error {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte("probe"))
	return errors.Join(err, unix.Close(fd))
}

// Verify checks that union can be written and that what is written to its root
// lands in rw. A named file would change the root's times: a file without a name
// proves that there is room, an attribute that it is this rw.
func Verify(union, rw string) error {
	err := writeNameless(union)
	if errors.Is(err, unix.EOPNOTSUPP) {
		err = writeNameless(rw) // overlayfs has such files from Linux 6.3 on
	}
	if err != nil {
		return fmt.Errorf("the union cannot be written: %w", err)
	}
	err = unix.Lsetxattr(union, probe, []byte{'1'}, 0)
	if err != nil {
		return fmt.Errorf("the union's root cannot be changed: %w", err)
	}
	_, landed := unix.Lgetxattr(rw, probe, make([]byte, 1))
	if err := unix.Lremovexattr(union, probe); err != nil {
		return fmt.Errorf("the union's root cannot be changed: %w", err)
	}
	if landed != nil {
		return fmt.Errorf("what is written to %s does not land in %s", union, rw)
	}
	return nil
}
