// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func cloneKeeper(flags uintptr) (pid int)

// startKeeper starts a process in a user namespace of its own that does nothing.
// It shares the memory of this one. One made by a plain fork, as keeperByFork makes
// it, has a copy of the page tables, and this process then copies each page that it
// writes to. It shares the descriptors, too, until it gives them up: what another
// goroutine closes meanwhile is closed. Only assembly can do without a stack; hence one architecture.
func startKeeper() (*os.Process, error) {
	runtime.LockOSThread() // its end would be the keeper's
	var all, old unix.Sigset_t
	for i := range all.Val {
		all.Val[i] = ^all.Val[i]
	}
	// A handler in the child would run on this thread's stack.
	if err := unix.PthreadSigmask(unix.SIG_SETMASK, &all, &old); err != nil {
		runtime.UnlockOSThread()
		return nil, err
	}
	pid := cloneKeeper(unix.CLONE_VM | unix.CLONE_FILES | unix.CLONE_NEWUSER | uintptr(unix.SIGCHLD))
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &old, nil)
	if pid < 0 {
		runtime.UnlockOSThread()
		return nil, os.NewSyscallError("clone", unix.Errno(-pid))
	}
	return os.FindProcess(pid)
}

// endKeeper is to be called by the goroutine that started it.
func endKeeper(keeper *os.Process) {
	_ = keeper.Kill()
	_, _ = keeper.Wait()
	runtime.UnlockOSThread()
}
