// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"firmwared/core/mount"
	"firmwared/core/rwlayer"
)

// stateDir looks at the file system that holds the rw layers, where it is or
// would be made.
func (d *doctor) stateDir(context.Context) {
	dir, missing := existing(d.at.state)
	trial, err := os.MkdirTemp(dir, ".firmwared-doctor-")
	if err != nil {
		d.judge(Problem, "state directory", fmt.Errorf("%s cannot be written: %w", quote(dir), cause(err)), "",
			"make room, or give --root a directory on a disk or a tmpfs")
		return
	}
	defer os.RemoveAll(trial)
	fine := quote(d.at.state)
	if missing {
		fine += ", to be made in " + quote(dir)
	}
	d.judge(Problem, "state directory", tryUpper(trial), fine+", a union on it keeps what is written",
		fmt.Sprintf("%s cannot hold rw layers: give --root a directory on a disk or a tmpfs%s", quote(d.at.state), unsuitable(dir)))
	d.room(dir)
	d.judge(Warning, "idmapped mounts", tryIdmapped(trial), "made one in the state directory",
		"user namespaces need them: a newer kernel, or another file system for --root")
}

// existing is the nearest directory on the way to path that exists.
func existing(path string) (dir string, missing bool) {
	for dir = path; !exists(dir); dir = filepath.Dir(dir) {
		missing = true
	}
	return dir, missing
}

// unsuitable names a kind of file system that is known for not holding an upper
// layer (Documentation/filesystems/overlayfs.rst).
func unsuitable(dir string) string {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil {
		return ""
	}
	switch st.Type {
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "; this one is itself an overlay"
	case unix.NFS_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC:
		return "; this one is on another machine"
	case unix.FUSE_SUPER_MAGIC:
		return "; this one is a FUSE file system"
	case unix.MSDOS_SUPER_MAGIC:
		return "; this one has no owners"
	}
	return ""
}

// room warns before the rw layers have none.
func (d *doctor) room(dir string) {
	const low, least = 256 << 20, 1000 // bytes, inodes
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		d.judge(Problem, "room", err, "", "")
		return
	}
	free := st.Bavail * uint64(st.Bsize)
	text := fmt.Sprintf("%d MiB free in %s", free>>20, quote(dir))
	scarce := free < low
	if st.Files > 0 { // some file systems make inodes as they go, and count none
		text += fmt.Sprintf(", %d inodes", st.Ffree)
		scarce = scarce || st.Ffree < least
	}
	if scarce {
		d.bad(Warning, "room", text, "drop instances, or give --root a directory on a larger file system")
		return
	}
	d.ok("room", text)
}

// runDir looks at where run-time files and locks go.
func (d *doctor) runDir(context.Context) {
	dir, missing := existing(d.at.run)
	file, err := os.CreateTemp(dir, ".firmwared-doctor-")
	if err == nil {
		defer os.Remove(file.Name())
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		err = errors.Join(err, file.Close())
	}
	fine := quote(d.at.run)
	if missing {
		fine += ", to be made in " + quote(dir)
	}
	d.judge(Problem, "run directory", err, fine, "give --root, or set run_dir to, a directory that can be written and locked")
}

// inOwnMounts calls do in a mount namespace of its own: whatever do mounts is gone
// with it, even if this program is killed.
func inOwnMounts(do func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // for good: the thread and its namespace end with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err != nil {
			done <- fmt.Errorf("cannot make a mount namespace: %w", err)
			return
		}
		done <- do()
	}()
	return <-done
}

// tryUpper mounts a union below dir, as the program's instances need one: writes
// land in the upper layer, and what is deleted is gone.
func tryUpper(dir string) error {
	at := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"lower", "upper", "work", "union"} {
		if err := os.Mkdir(at(name), 0o755); err != nil {
			return cause(err)
		}
	}
	if err := os.WriteFile(at("lower/file"), []byte("pristine"), 0o644); err != nil {
		return cause(err)
	}
	return inOwnMounts(func() error {
		// Relative names: those of the state directory may not fit an option. The
		// thread has its working directory to itself, by CLONE_NEWNS.
		if err := unix.Chdir(dir); err != nil {
			return err
		}
		if err := unix.Mount("firmwared-doctor", "union", "overlay", unix.MS_NODEV, "lowerdir=lower,upperdir=upper,workdir=work"); err != nil {
			return fmt.Errorf("cannot mount a union: %w", err)
		}
		err := rwlayer.Verify("union", "upper")
		if err == nil {
			err = os.Remove("union/file")
		}
		return errors.Join(err, unix.Chdir("/"), mount.Unmount(at("union")))
	})
}

// tryIdmapped makes a mount of dir whose owners are shifted, visible nowhere.
func tryIdmapped(dir string) error {
	shifted, err := mount.NewIDMap(mount.IDRange{Outside: 100000, Count: idsPerInstance})
	if err != nil {
		return err
	}
	defer shifted.Close()
	return shifted.Clone(dir, "", false)
}
