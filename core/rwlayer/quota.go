// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ErrNoQuota says that the kernel cannot bound what a directory takes on its
// file system.
var ErrNoQuota = errors.New("its file system keeps no project quotas (it must have them, and be mounted with prjquota)")

// DiskLimit is what a layer may take on the disk; 0 is no limit.
type DiskLimit struct{ Bytes, Inodes int64 }

// Bound has the kernel hold what is in dirs, and what is made there later, to a
// limit that they share: a quota on project, a number that nobody else on that file
// system may have. With no limit it only takes an earlier one away. No program may
// be at work in dirs. It needs root; who has CAP_SYS_RESOURCE is not held to it,
// but for what goes through an overlay, which drops it (ovl_fill_super).
func Bound(limit DiskLimit, project uint32, dirs ...string) error {
	for i, dir := range dirs {
		fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("cannot limit %s: %w", dir, err)
		}
		f := os.NewFile(uintptr(fd), dir)
		attr, err := fileAttr(fd)
		if limit == (DiskLimit{}) && (err != nil || attr.project != project) {
			f.Close()
			return nil // never had one
		}
		if i == 0 {
			err = setQuota(fd, project, limit)
		}
		if err == nil && limit != (DiskLimit{}) && attr.project != project {
			err = joinTree(f, project, 0)
		}
		f.Close()
		if err != nil {
			return fmt.Errorf("cannot limit %s: %w", dir, err)
		}
	}
	return nil
}

// diskQuota is struct if_dqblk, and the rest is of linux/quota.h, too.
type diskQuota struct {
	blocksHard, blocksSoft, space, inodesHard, inodesSoft, inodes, blockTime, inodeTime uint64

	valid uint32
	_     uint32
}

const (
	quotaBlock    = 1024
	validLimits   = 1 | 4 // QIF_BLIMITS, QIF_ILIMITS
	setQuotaCall  = 0x800008<<8 | projectQuota
	projectQuota  = 2
	projectIsLeft = 0x200 // FS_XFLAG_PROJINHERIT, linux/fs.h
	getAttr       = 0x801c581f
	setAttr       = 0x401c5820
)

func setQuota(fd int, project uint32, limit DiskLimit) error {
	q := diskQuota{blocksHard: uint64(limit.Bytes+quotaBlock-1) / quotaBlock, inodesHard: uint64(limit.Inodes), valid: validLimits}
	_, _, errno := unix.Syscall6(unix.SYS_QUOTACTL_FD, uintptr(fd), setQuotaCall, uintptr(project), uintptr(unsafe.Pointer(&q)), 0, 0)
	switch errno {
	case 0:
		return nil
	case unix.ENOSYS, unix.ESRCH, unix.EINVAL, unix.EOPNOTSUPP, unix.ENOTTY:
		return ErrNoQuota
	}
	return errno
}

// attributes is struct fsxattr (linux/fs.h).
type attributes struct {
	flags, extent, extents, project, cowExtent uint32

	_ [8]byte
}

func fileAttr(fd int) (a attributes, err error) {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), getAttr, uintptr(unsafe.Pointer(&a))); errno != 0 {
		return a, errno
	}
	return a, nil
}

// join counts an open file for a project; what is made in a directory later
// follows it.
func join(fd int, directory bool, project uint32) error {
	a, err := fileAttr(fd)
	if err != nil {
		return err
	}
	a.project = project
	if directory {
		a.flags |= projectIsLeft
	}
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), setAttr, uintptr(unsafe.Pointer(&a))); errno != 0 {
		return errno
	}
	return nil
}

// joinTree counts a directory and what is in it, itself last: so one that was
// interrupted is begun again. Nodes, sockets and links, which hold no blocks,
// cannot be opened and are not counted.
func joinTree(dir *os.File, project uint32, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("it is deeper than %d directories", maxDepth)
	}
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if err := joinEntry(dir, name, project, depth); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return join(int(dir.Fd()), true, project)
}

func joinEntry(dir *os.File, name string, project uint32, depth int) error {
	var st unix.Stat_t
	if err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	kind := st.Mode & unix.S_IFMT
	if kind != unix.S_IFREG && kind != unix.S_IFDIR {
		return nil
	}
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	if kind == unix.S_IFDIR {
		return joinTree(file, project, depth+1)
	}
	return join(fd, false, project)
}
