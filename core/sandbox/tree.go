// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/fault"
)

// pivot makes the union the root of the mount namespace and drops the host's
// tree from it.
func (s *initStage) pivot() error {
	fault.Point("init.entered")
	// Slave first: detaching the old root here must not unmount the host's.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return stage("make slave", "/", err)
	}
	if err := s.enterRoot(); err != nil {
		return err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		// EBUSY: a directory of the mount that is the root already.
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBUSY) {
			err = errors.New("not a mount point")
		}
		return stage("make root of", s.spec.Root, err)
	}
	// The old root now lies on top of the new one at "." (pivot_root(2)).
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return stage("detach", "the old root", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return stage("enter", "/", err)
	}
	return stage("make private", "/", unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""))
}

// mountPoint opens a directory of the firmware that something is to be mounted
// on. The firmware may have put anything there.
func mountPoint(path string) (int, error) {
	fd, err := unix.Openat2(unix.AT_FDCWD, path, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC | unix.O_NOFOLLOW,
		Resolve: unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case err == nil:
		return fd, nil
	case isSymlink(path):
		err = errors.New("it is a symbolic link in the firmware")
	case errors.Is(err, unix.ENOTDIR):
		err = errors.New("it is not a directory in the firmware")
	case errors.Is(err, unix.ENOENT):
		err = errors.New("the firmware has no such directory")
	}
	return -1, err
}

func isSymlink(path string) bool {
	var st unix.Stat_t
	return unix.Lstat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFLNK
}

// newFS makes a file system that is mounted nowhere yet. An option without = is
// a flag.
func newFS(fstype string, attr int, options ...string) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	for _, option := range options {
		key, value, found := strings.Cut(option, "=")
		if found {
			err = unix.FsconfigSetString(fs, key, value)
		} else {
			err = unix.FsconfigSetFlag(fs, key)
		}
		if err != nil {
			return -1, err
		}
	}
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, attr)
}

// attach mounts tree on what at is open on.
func attach(tree, at int) error {
	return unix.MoveMount(tree, "", at, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// attachOn mounts tree on a directory of the firmware.
func attachOn(tree int, fstype, path string) error {
	at, err := mountPoint(path)
	if err != nil {
		return stage("mount "+fstype+" on", path, err)
	}
	defer unix.Close(at)
	return stage("mount "+fstype+" on", path, attach(tree, at))
}
