// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// RemoveAll deletes the tree at path, whose content may be hostile. It follows
// no link, keeps a bounded number of descriptors however deep the tree is, takes
// immutable flags off, and never deletes through a mount: one anywhere in the
// tree is an error (EBUSY) that leaves the mount and what is in it alone. That
// path is gone already is no error.
func RemoveAll(path string) error {
	parent, err := unix.Open(filepath.Dir(path), unix.O_DIRECTORY|unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == unix.ENOENT {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot remove %q: %w", path, err)
	}
	defer unix.Close(parent)
	if err := removeAt(parent, filepath.Base(path)); err != nil {
		return fmt.Errorf("cannot remove %q: %w", path, err)
	}
	return nil
}

// removeAt deletes parent/name. A directory is emptied by moving the ones in it
// up beside them, one level at a time, so that depth costs nothing.
func removeAt(parent int, name string) error {
	err := unlink(parent, name)
	if !errors.Is(err, unix.ENOTEMPTY) {
		return err
	}
	top, err := openDir(parent, name)
	if err != nil {
		return err
	}
	defer top.Close()
	moved := 0
	for todo := []string{"."}; len(todo) > 0; todo = todo[1:] {
		below, err := emptyDir(int(top.Fd()), todo[0], &moved)
		if err != nil {
			return err
		}
		todo = append(todo, below...)
	}
	return unlink(parent, name)
}

// emptyDir deletes what is in top/name, moves directories that are not empty up
// into top and returns their new names there.
func emptyDir(top int, name string, moved *int) ([]string, error) {
	dir, err := openDir(top, name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	var below []string
	for {
		names, err := dir.Readdirnames(1024)
		if err != nil && err != io.EOF {
			return nil, err
		}
		for _, entry := range names {
			err := unlink(int(dir.Fd()), entry)
			if errors.Is(err, unix.ENOTEMPTY) {
				to := entry // in top itself it is where it shall be
				if err = nil; name != "." {
					to, err = moveUp(int(dir.Fd()), entry, top, moved)
				}
				below = append(below, to)
			}
			if err != nil {
				return nil, err
			}
		}
		if len(names) == 0 {
			break
		}
	}
	if name == "." {
		return below, nil
	}
	return below, unlink(top, name)
}

func moveUp(dir int, name string, top int, moved *int) (string, error) {
	for {
		*moved++
		to := ".removing-" + strconv.Itoa(*moved)
		err := unix.Renameat2(dir, name, top, to, unix.RENAME_NOREPLACE)
		switch {
		case err == unix.EEXIST:
			continue
		case err == unix.EPERM:
			clearFlags(dir, name)
			clearFlags(dir, ".")
			err = unix.Renameat2(dir, name, top, to, unix.RENAME_NOREPLACE)
		}
		if err != nil {
			return "", fmt.Errorf("%q: %w", name, err)
		}
		return to, nil
	}
}

// unlink deletes one entry, a directory only if it is empty (else ENOTEMPTY).
func unlink(dir int, name string) error {
	err := unlinkOnce(dir, name)
	if err == unix.EPERM {
		clearFlags(dir, ".")
		clearFlags(dir, name)
		err = unlinkOnce(dir, name)
	}
	if err != nil && err != unix.ENOENT {
		return fmt.Errorf("%q: %w", name, err)
	}
	return nil
}

func unlinkOnce(dir int, name string) error {
	err := unix.Unlinkat(dir, name, 0)
	if err == unix.EISDIR {
		err = unix.Unlinkat(dir, name, unix.AT_REMOVEDIR)
		if err == unix.EEXIST {
			err = unix.ENOTEMPTY
		}
	}
	return err
}

// FS_IMMUTABLE_FL and FS_APPEND_FL of linux/fs.h, which x/sys lacks.
const (
	immutable  = 0x10
	appendOnly = 0x20
)

// clearFlags takes "immutable" and "append only" away, as far as it can.
func clearFlags(dir int, name string) {
	fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	if flags, err := unix.IoctlGetInt(fd, unix.FS_IOC_GETFLAGS); err == nil {
		_ = unix.IoctlSetPointerInt(fd, unix.FS_IOC_SETFLAGS, flags&^(immutable|appendOnly))
	}
}

// openDir opens a directory that is not a mount point.
func openDir(parent int, name string) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH,
	}
	fd, err := unix.Openat2(parent, name, &how)
	if err == unix.EXDEV {
		err = unix.EBUSY
	}
	if err != nil {
		return nil, fmt.Errorf("%q: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil
}
