// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// ErrNoIDMap says that a mount cannot show its files with other owners: its file
// system, or this kernel, cannot.
var ErrNoIDMap = errors.New("it cannot be mounted with other owners (idmapped)")

// IDRange maps Count ids from Inside on, which are those on the disk, to ids from
// Outside on, which are those that the mount shows. It holds for users and groups.
type IDRange struct{ Inside, Outside, Count uint32 }

// IDMap is a map of owners for mounts. To be closed; mounts keep theirs.
type IDMap struct{ ns *os.File }

// NewIDMap needs root. The kernel takes a map in the form of a user namespace
// only (mount_setattr(2)), and lets go of one that no process is in: so there is a
// process for as long as it takes to open it.
func NewIDMap(ranges ...IDRange) (*IDMap, error) {
	var table strings.Builder
	for _, r := range ranges {
		fmt.Fprintf(&table, "%d %d %d\n", r.Inside, r.Outside, r.Count)
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	keeper, err := startKeeper()
	if err != nil {
		return nil, fmt.Errorf("cannot make a user namespace: %w", err)
	}
	defer endKeeper(keeper)
	proc := fmt.Sprintf("/proc/%d/", keeper.Pid)
	for _, file := range []string{"uid_map", "gid_map"} {
		if err := os.WriteFile(proc+file, []byte(table.String()), 0); err != nil {
			return nil, fmt.Errorf("cannot make a user namespace: %w", err)
		}
	}
	ns, err := os.Open(proc + "ns/user")
	if err != nil {
		return nil, fmt.Errorf("cannot make a user namespace: %w", err)
	}
	return &IDMap{ns}, nil
}

func endKeeper(keeper *os.Process) {
	_ = keeper.Kill()
	_, _ = keeper.Wait()
}

// keeperByFork is startKeeper with what Go has: this program, stopped before its
// first instruction. It is built everywhere, so that it is tested everywhere.
func keeperByFork() (*os.Process, error) {
	return os.StartProcess("/proc/self/exe", []string{"firmwared", "idmap"}, &os.ProcAttr{
		Env: []string{},
		Sys: &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER, Ptrace: true, Pdeathsig: unix.SIGKILL},
	})
}

// Close lets go of the map.
func (m *IDMap) Close() { m.ns.Close() }

// Apply has a detached mount, and with recursive those below it, show other
// owners. ErrNoIDMap means that nothing was changed.
func (m *IDMap) Apply(tree int, recursive bool) error {
	flags := uint(unix.AT_EMPTY_PATH)
	if recursive {
		flags |= unix.AT_RECURSIVE
	}
	err := unix.MountSetattr(tree, "", flags, &unix.MountAttr{
		Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(m.ns.Fd()),
	})
	// EINVAL: the file system; EPERM: mapped already; ENOSYS: before Linux 5.12.
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOSYS) {
		return fmt.Errorf("%w: %w", ErrNoIDMap, err)
	}
	return err
}

// Clone makes a private mount of what is at path, without what is mounted below
// it, with other owners, and attaches it at target; "" only tries. A symlink at
// the end of path is not followed.
func (m *IDMap) Clone(path, target string, readOnly bool) error {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_SYMLINK_NOFOLLOW)
	if err != nil {
		return fmt.Errorf("cannot clone mount %q: %w", path, err)
	}
	defer unix.Close(tree)
	attr := &unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if readOnly {
		attr.Attr_set = unix.MOUNT_ATTR_RDONLY
	}
	if err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr); errors.Is(err, unix.ENOSYS) {
		err = ErrNoIDMap
	}
	if err == nil {
		err = m.Apply(tree, false)
	}
	if err == nil && target != "" {
		err = unix.MoveMount(tree, "", unix.AT_FDCWD, target, unix.MOVE_MOUNT_F_EMPTY_PATH)
	}
	if err != nil {
		return fmt.Errorf("cannot clone mount %q: %w", path, err)
	}
	return nil
}
