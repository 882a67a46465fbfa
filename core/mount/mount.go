// SPDX-License-Identifier: Apache-2.0

// Package mount asks the kernel single questions about single mounts and makes
// the few mounts that are the program's own (the state directory's). Everything
// else is mounted by hooks. No function here reads the mount table except
// Table, whose cost grows with the machine's mounts. Nothing is locked and
// nothing is cached.
package mount

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Point is what is mounted where a path leads.
type Point struct {
	// ID is never used again before the next boot where the kernel has
	// STATX_MNT_ID_UNIQUE (6.8); before that it may be, after an unmount.
	ID       uint64
	Root     bool // the path is the root of a mount, not a directory in one
	ReadOnly bool // the mount or its superblock is
}

// Stat looks at path in the caller's mount namespace. A symlink at its end is
// not followed.
func Stat(path string) (Point, error) {
	p, err := look(path, 0)
	if err != nil {
		return p, err
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(path, &fs); err != nil {
		return p, fmt.Errorf("cannot look at mount point %q: %w", path, err)
	}
	p.ReadOnly = fs.Flags&unix.ST_RDONLY != 0
	return p, nil
}

// look is Stat but for ReadOnly.
func look(path string, flags int) (p Point, err error) {
	var sx unix.Statx_t
	flags |= unix.AT_SYMLINK_NOFOLLOW | unix.AT_NO_AUTOMOUNT
	err = unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_MNT_ID_UNIQUE, &sx)
	if err == nil && sx.Mask&unix.STATX_MNT_ID_UNIQUE == 0 {
		err = unix.Statx(unix.AT_FDCWD, path, flags, unix.STATX_MNT_ID, &sx)
	}
	if err != nil {
		return p, fmt.Errorf("cannot look at mount point %q: %w", path, err)
	}
	p.ID = sx.Mnt_id
	p.Root = sx.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
	return p, nil
}

// Is tells whether the mount with this id is the topmost one at path. A path
// that cannot be looked at has no mount.
func Is(path string, id uint64) bool {
	p, err := Stat(path)
	return err == nil && p.Root && p.ID == id
}

// Free tells whether path is missing or no mount point. A FUSE file system is not asked anything, as its daemon may
// be dead (ENOTCONN) or stuck; what cannot be looked at for another reason than that it is not there is not free.
func Free(path string) bool {
	p, err := look(path, unix.AT_STATX_DONT_SYNC)
	if err != nil {
		return errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR)
	}
	return !p.Root
}

// BindShared binds dir on target and makes the new mount shared in a peer group
// of its own: an unmount below it then also reaches the copies that other mount
// namespaces took of it, and mounts below it reach no peer of the mount it came
// from. Needs CAP_SYS_ADMIN. On an error nothing stays mounted.
func BindShared(dir, target string) (uint64, error) {
	if err := unix.Mount(dir, target, "", unix.MS_BIND, ""); err != nil {
		return 0, fmt.Errorf("cannot bind %q on %q: %w", dir, target, err)
	}
	for _, propagation := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", target, "", propagation, ""); err != nil {
			return 0, errors.Join(fmt.Errorf("cannot make mount %q shared: %w", target, err), Unmount(target))
		}
	}
	p, err := Stat(target)
	if err != nil {
		return 0, errors.Join(err, Unmount(target))
	}
	return p.ID, nil
}

// Pin binds an open namespace (/proc/PID/ns/...) on the file target, which is made
// when missing: it lives as long as the mount. Needs CAP_SYS_ADMIN.
func Pin(namespace *os.File, target string) error {
	file, err := os.OpenFile(target, os.O_CREATE|os.O_RDONLY|unix.O_NOFOLLOW, 0o400)
	if err != nil {
		return err
	}
	file.Close()
	source := fmt.Sprintf("/proc/self/fd/%d", namespace.Fd())
	if err := unix.Mount(source, target, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("cannot bind a namespace on %q: %w", target, err)
	}
	return nil
}

// Unmount takes the topmost mount at path away, never lazily: EBUSY means that
// somebody still uses it.
func Unmount(path string) error {
	if err := unix.Unmount(path, unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot unmount %q: %w", path, err)
	}
	return nil
}

// Detach takes a bind of a directory, or a pinned namespace, out of the namespace although files in it
// are open: they stay usable. Only for a mount with none below it.
func Detach(path string) error {
	if err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil {
		return fmt.Errorf("cannot detach %q: %w", path, err)
	}
	return nil
}
