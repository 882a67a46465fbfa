// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"io"
	"unsafe"

	"golang.org/x/sys/unix"

	"firmwared/core/fault"
)

// cleanInheritance leaves the program no descriptor but stdio, no ignored or
// blocked signal and an ordinary umask. The Go runtime's own handlers end with
// execve; what the caller ignored (nohup, a shell's background job) would not.
func (s *initStage) cleanInheritance() error {
	unix.Umask(0o022)
	err := unix.CloseRange(3, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC)
	if errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) {
		err = closeOnExecAll()
	}
	if err != nil {
		return stage("close", "descriptors", err)
	}
	for sig := 1; sig <= 64; sig++ {
		if err := unignore(sig); err != nil {
			return stage("reset", "signals", err)
		}
	}
	var none unix.Sigset_t
	return stage("reset", "signal mask", unix.PthreadSigmask(unix.SIG_SETMASK, &none, nil))
}

// closeOnExecAll is for kernels before 5.11. Descriptors of this stage are few
// and low.
func closeOnExecAll() error {
	for fd := uintptr(3); fd < 1024; fd++ {
		_, err := unix.FcntlInt(fd, unix.F_SETFD, unix.FD_CLOEXEC)
		if err != nil && !errors.Is(err, unix.EBADF) {
			return err
		}
	}
	return nil
}

// unignore sets a signal that is ignored back to its default.
func unignore(sig int) error {
	const sigIgn, maskSize = 1, 8
	// The kernel's struct sigaction begins with the handler and fits into this
	// everywhere but on mips; all zero is SIG_DFL in any layout.
	var old, def [4]uint64
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), 0, uintptr(unsafe.Pointer(&old)), maskSize, 0, 0)
	if errno == 0 && old[0] == sigIgn {
		_, _, errno = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&def)), 0, maskSize, 0, 0)
	}
	if errno != 0 {
		return errno
	}
	return nil
}

// awaitGo finds out whether the supervisor still lives, now that its death would
// end this process: one that died before has closed its end.
func (s *initStage) awaitGo() error {
	fault.Point("init.dressed")
	if err := tellStart(stageMessage{Ready: true}, -1); err != nil {
		return errOrphan
	}
	var b [1]byte
	if _, err := io.ReadFull(controlReader{}, b[:]); err != nil {
		return errOrphan
	}
	return nil
}
