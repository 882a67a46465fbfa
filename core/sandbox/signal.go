// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Signal sends sig to the process. For a dead process it returns os.ErrProcessDone.
//
// The kernel drops every signal but SIGKILL and SIGSTOP for a pid namespace's
// first process unless that has a handler (pid_namespaces(7)), so a program that
// relies on the default action of SIGTERM could not be ended by it. For such a
// signal the default action is emulated: SIGKILL, reported by Wait as sig.
func (p *Process) Signal(sig syscall.Signal) error {
	if sig < 0 || sig > 64 {
		return fmt.Errorf("cannot send signal %d: not a signal", int(sig))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.PidFD < 0 {
		return os.ErrProcessDone
	}
	send := sig
	if !p.entered && fatal(sig) && p.dropped(sig) {
		send = unix.SIGKILL
	}
	err := unix.PidfdSendSignal(p.PidFD, send, nil, 0)
	if errors.Is(err, unix.ESRCH) {
		return os.ErrProcessDone
	}
	if err != nil {
		return fmt.Errorf("cannot send signal %d to process %d: %w", int(sig), p.Pid, err)
	}
	if send != sig && p.emulated == 0 {
		p.emulated = sig
	}
	return nil
}

// fatal says whether the default action of sig ends a process.
func fatal(sig syscall.Signal) bool {
	switch sig {
	case 0, unix.SIGKILL, unix.SIGSTOP, unix.SIGCHLD, unix.SIGURG, unix.SIGWINCH,
		unix.SIGCONT, unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU:
		return false
	}
	return true
}

// dropped says whether pid 1 neither catches, ignores nor blocks sig. A blocked
// one is kept by the kernel, for sigwait.
func (p *Process) dropped(sig syscall.Signal) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	if err != nil {
		return false
	}
	return !handled(status, sig)
}

func handled(status []byte, sig syscall.Signal) bool {
	var masks uint64
	for line := range bytes.Lines(status) {
		name, value, _ := bytes.Cut(line, []byte(":"))
		switch string(name) {
		case "SigBlk", "SigIgn", "SigCgt":
			mask, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
			if err != nil {
				return true
			}
			masks |= mask
		}
	}
	return masks&(1<<(uint(sig)-1)) != 0
}
