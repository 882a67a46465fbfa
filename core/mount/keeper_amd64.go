// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"os"

	"golang.org/x/sys/unix"
)

func cloneKeeper(flags uintptr, parent int) (pid int)

// startKeeper starts a process in a user namespace of its own that does nothing. It
// dies with the calling thread, which must be locked.
//
// It shares the memory of this process. One made by a plain fork, as keeperByFork
// makes it, has a copy of the page tables, and this process then copies each page that
// it writes to. It shares the descriptors, too, and never has any of its own, not even
// to close them, so that what another goroutine closes meanwhile is closed: a copy of
// a detached mount's would keep a layer busy. Only assembly can do without a stack;
// hence one architecture.
func startKeeper() (*os.Process, error) {
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	// A handler in the child would run on this thread's stack.
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		return nil, err
	}
	pid := cloneKeeper(unix.CLONE_VM|unix.CLONE_FILES|unix.CLONE_NEWUSER|uintptr(unix.SIGCHLD), os.Getpid())
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if pid < 0 {
		return nil, os.NewSyscallError("clone", unix.Errno(-pid))
	}
	return os.FindProcess(pid)
}
