// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"firmwared/core/mount"
)

// IDs is the range of ids of the host that an instance's ids from 0 on are, in a
// user namespace of its own.
type IDs struct {
	First uint32 `json:"first"`
	Count uint32 `json:"count"`
}

func (ids *IDs) validate() error {
	if ids == nil || ids.First > 0 && ids.Count > 0 && ids.First <= 1<<32-1-ids.Count {
		return nil
	}
	return fmt.Errorf("cannot start: %d ids from %d on are no range for a user namespace", ids.Count, ids.First)
}

// rootUID is the instance's root as the caller knows it.
func (s *Spec) rootUID() int {
	if s.IDs == nil {
		return 0
	}
	return int(s.IDs.First)
}

// intoUserNS adds a user namespace to what a child is born with. The kernel makes
// it first, so that it owns the others: only so may the instance's root mount in
// them.
func (ids *IDs) intoUserNS(attr *syscall.SysProcAttr) {
	mapping := []syscall.SysProcIDMap{{ContainerID: 0, HostID: int(ids.First), Size: int(ids.Count)}}
	attr.Cloneflags |= unix.CLONE_NEWUSER
	attr.UidMappings, attr.GidMappings, attr.GidMappingsEnableSetgroups = mapping, mapping, true
	// Before its execve, which would take the capabilities of anybody else.
	attr.Credential = &syscall.Credential{}
}

// bornIn has make run with dir as the working directory of the calling thread,
// which must be locked and is never to be used by anybody else. A child in a user
// namespace has no right to walk to the union: it lies below root's directories.
// But it inherits the working directory, and copy_mnt_ns turns that into the same
// place of the child's own mount namespace.
func bornIn(dir string, make func() error) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return stage("unshare", "working directory", err)
	}
	if err := unix.Chdir(dir); err != nil {
		return stage("enter", dir, err)
	}
	err := make()
	// Or this thread would keep the union busy.
	if chdirErr := unix.Chdir("/"); err == nil && chdirErr != nil {
		return stage("enter", "/", chdirErr)
	}
	return err
}

// enterRoot makes the union the working directory. With a user namespace it is
// that already, but locked in its place, like every mount that was copied
// (lock_mnt_tree, fs/namespace.c), and so no root for pivot_root. A bind of it is
// free, and keeps its flags locked: nodev cannot be taken away.
func (s *initStage) enterRoot() error {
	if s.spec.IDs == nil {
		return stage("enter", s.spec.Root, unix.Chdir(s.spec.Root))
	}
	point, err := mount.Stat(".")
	if err == nil && !point.Root {
		err = errors.New("not a mount point")
	}
	if err != nil {
		return stage("make root of", s.spec.Root, err)
	}
	tree, err := unix.OpenTree(unix.AT_FDCWD, ".", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return stage("make root of", s.spec.Root, err)
	}
	defer unix.Close(tree)
	if err := unix.MoveMount(tree, "", unix.AT_FDCWD, ".", unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return stage("make root of", s.spec.Root, err)
	}
	return stage("enter", s.spec.Root, unix.Fchdir(tree))
}

// makeKernelFS makes procfs and sysfs of the instance's own namespaces, by
// descriptor. In a user namespace the kernel allows a new one only while one that
// hides nothing is in the same mount namespace (mount_too_revealing): now, that
// is the host's.
func (s *initStage) makeKernelFS() (err error) {
	if err := s.makeProc(); err != nil {
		return err
	}
	if s.apiMounts() != APIMountsAll {
		return nil
	}
	s.sys, err = newFS("sysfs", attrsData|unix.MOUNT_ATTR_RDONLY)
	if errors.Is(err, unix.EPERM) && s.spec.IDs != nil && s.spec.Net == NetHost {
		// The host's network is not the instance's to show: the host's own sysfs is
		// all there is.
		s.sys, err = cloneReadOnly("/sys")
	}
	return stage("make", "sysfs", explainRevealing(err, "/sys"))
}

// makeProc makes a procfs of the thread's own pid namespace.
func (s *initStage) makeProc() (err error) {
	s.proc, err = newFS("proc", attrsData)
	return stage("make", "procfs", explainRevealing(err, "/proc"))
}

func explainRevealing(err error, path string) error {
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w (is something mounted over parts of this machine's %s, as in a container?)", err, path)
	}
	return err
}

func cloneReadOnly(path string) (int, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, err
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
		unix.Close(tree)
		return -1, err
	}
	return tree, nil
}

// apiMounts is Spec.APIMounts, but in a user namespace an init can mount its own
// procfs and sysfs only on top of ours.
func (s *initStage) apiMounts() string {
	if s.spec.IDs != nil {
		return APIMountsAll
	}
	return s.spec.apiMounts()
}

// The caller's descriptors for the stage, after the control socket: /dev if there
// is a user namespace, then the sources of the binds.
const firstPassedFD = controlFD + 1

// openPassed is the caller's side.
func (s *Spec) openPassed() (files []*os.File, err error) {
	defer func() {
		if err != nil {
			closeAll(files)
		}
	}()
	if s.IDs != nil {
		dev, err := s.makeDev()
		if err != nil {
			return files, err
		}
		files = append(files, os.NewFile(uintptr(dev), "dev"))
	}
	for _, b := range s.Binds {
		tree, err := openBind(b, s.IDs)
		if err != nil {
			return files, err
		}
		files = append(files, os.NewFile(uintptr(tree), b.Source))
	}
	return files, nil
}

// takePassed is the stage's side.
func (s *initStage) takePassed() {
	fd := firstPassedFD
	take := func() int {
		unix.CloseOnExec(fd)
		fd++
		return fd - 1
	}
	if s.spec.IDs != nil {
		s.dev = take()
	}
	for range s.spec.Binds {
		s.binds = append(s.binds, take())
	}
}
