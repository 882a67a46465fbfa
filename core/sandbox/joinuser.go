// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"unsafe"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// joining is how a command's process enters the instance's user namespace, which
// setns(2) allows to a process with one thread only: so not to the stage, but to
// what it forks. Until then that is the machine's root; the namespace protects it
// from the instance, which has no power over what is outside of it. Everything is
// ready here before the fork.
type joining struct {
	active   bool
	gid, uid uintptr
	groups   []uint32
	denied   []uintptr
	header   unix.CapUserHeader
	caps     [2]unix.CapUserData
}

// joinAs prepares for spec's instance. Entering gives every capability in the
// namespace, so that what is denied is dropped after it.
func (s *initStage) joinAs() (j joining, err error) {
	if s.spec.IDs == nil {
		return j, nil
	}
	j = joining{active: true, gid: uintptr(s.user.gid), uid: uintptr(s.user.uid), header: unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}}
	// One more, so that there is an address.
	j.groups = make([]uint32, len(s.user.groups)+1)
	for i, g := range s.user.groups {
		j.groups[i] = uint32(g)
	}
	var mask uint64
	for c := capability.Cap(0); c <= s.caps.last; c++ {
		mask |= 1 << uint(c)
	}
	if !s.spec.Confine.None {
		denied, err := deniedBy(&s.spec.Confine)
		if err != nil {
			return j, err
		}
		for _, c := range denied {
			if c <= s.caps.last {
				j.denied = append(j.denied, uintptr(c))
				mask &^= 1 << uint(c)
			}
		}
	}
	if s.user.uid == 0 {
		for i := range j.caps {
			half := uint32(mask >> (32 * i))
			j.caps[i] = unix.CapUserData{Effective: half, Permitted: half}
		}
	}
	return j, nil
}

// enter runs in the forked process: see command.clone for what it must not do.
//
//go:norace
//go:noinline
//go:nosplit
func (j *joining) enter() unix.Errno {
	if _, _, errno := unix.RawSyscall(unix.SYS_SETNS, pid1FD, unix.CLONE_NEWUSER, 0); errno != 0 {
		return errno
	}
	unix.RawSyscall(unix.SYS_CLOSE, pid1FD, 0, 0)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(j.groups)-1), uintptr(unsafe.Pointer(&j.groups[0])), 0); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, j.gid, j.gid, j.gid); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, j.uid, j.uid, j.uid); errno != 0 {
		return errno
	}
	for _, c := range j.denied {
		if _, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_CAPBSET_DROP, c, 0, 0, 0, 0); errno != 0 {
			return errno
		}
	}
	_, _, errno := unix.RawSyscall(unix.SYS_CAPSET, uintptr(unsafe.Pointer(&j.header)), uintptr(unsafe.Pointer(&j.caps[0])), 0)
	return errno
}
