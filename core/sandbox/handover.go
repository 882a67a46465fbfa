// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"os"

	"golang.org/x/sys/unix"
)

// StartHere is Start on the calling thread, which the caller has locked and keeps:
// the process dies with it. Wait needs a Watch.
func StartHere(ctx context.Context, spec Spec) (*Process, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	p, child, err := start(ctx, &spec)
	if err != nil {
		return nil, err
	}
	p.child = child
	return p, nil
}

// Watch waits for the end of a process from StartHere or TakeOver.
func (p *Process) Watch() {
	p.watching.Do(func() {
		go func() {
			p.awaitDeath()
			p.ended(reap(p.child))
		}()
	})
}

// awaitDeath takes no thread, unlike a wait4(2). Where that cannot be, it returns
// at once.
func (p *Process) awaitDeath() {
	fd, err := unix.FcntlInt(uintptr(p.PidFD), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return
	}
	_ = unix.SetNonblock(fd, true)
	file := os.NewFile(uintptr(fd), "pidfd")
	defer file.Close()
	raw, err := file.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Read(func(fd uintptr) bool {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		return n > 0 || err != nil && err != unix.EINTR
	})
}

// Handover is a process that nobody watches yet, on its owner's way through an
// execve(2) on the thread that called StartHere. It travels as JSON; a descriptor
// that is 0 is none.
type Handover struct {
	Pid     int `json:"pid"`
	PidFD   int `json:"pidfd"`
	Console int `json:"console,omitempty"`
	Peer    int `json:"peer,omitempty"`
	Stdin   int `json:"stdin,omitempty"`
	Stdout  int `json:"stdout,omitempty"`
	Stderr  int `json:"stderr,omitempty"`
}

// HandOver changes nothing.
func (p *Process) HandOver() Handover {
	number := func(file *os.File) (n int) {
		if file != nil {
			_ = controlFile(file, func(fd int) error { n = fd; return nil })
		}
		return n
	}
	return Handover{
		Pid: p.Pid, PidFD: p.PidFD, Console: number(p.Console), Peer: number(p.peer),
		Stdin: number(p.Stdin), Stdout: number(p.Stdout), Stderr: number(p.Stderr),
	}
}

// Descriptors are those that must survive.
func (h Handover) Descriptors() []int {
	return []int{h.PidFD, h.Console, h.Peer, h.Stdin, h.Stdout, h.Stderr}
}

// TakeOver is for the program that was executed.
func TakeOver(h Handover) (*Process, error) {
	child, err := os.FindProcess(h.Pid) // unreaped, so it is the one
	if err != nil {
		return nil, err
	}
	file := func(fd int, name string) *os.File {
		if fd == 0 {
			return nil
		}
		return os.NewFile(uintptr(fd), name)
	}
	return &Process{
		Pid: h.Pid, PidFD: h.PidFD, Console: file(h.Console, "console"), peer: file(h.Peer, "console peer"),
		Stdin: file(h.Stdin, "pipe"), Stdout: file(h.Stdout, "pipe"), Stderr: file(h.Stderr, "pipe"),
		child: child, done: make(chan struct{}),
	}, nil
}
