// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"os"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reasons of an Exit.
const (
	ReasonExited   = "exited"
	ReasonSignal   = "signal"
	ReasonPoweroff = "poweroff"
	ReasonReboot   = "reboot"
)

// Exit tells how pid 1 ended.
type Exit struct {
	Code   int    `json:"code"`
	Signal int    `json:"signal,omitempty"`
	Reason string `json:"reason"`
}

// Status is the exit status for a command that stands for pid 1: its code, or
// 128 + signal. An instance that switched itself off is a success.
func (e Exit) Status() int {
	switch {
	case e.Reason == ReasonPoweroff:
		return 0
	case e.Signal != 0:
		return 128 + e.Signal
	}
	return e.Code
}

// Process is a running pid 1, or a command that Enter started.
type Process struct {
	// Pid is the number in the caller's pid namespace.
	Pid int
	// PidFD stays valid until Close, whatever becomes of the process.
	PidFD int
	// Console is the master of the pty that is the instance's /dev/console, and
	// pid 1's stdio with Spec.Terminal. nil without both.
	Console *os.File
	// Stdin, Stdout and Stderr are the caller's ends of pid 1's pipes; nil with
	// Spec.Terminal.
	Stdin, Stdout, Stderr *os.File

	// entered: not pid 1, so signals do what they do to any process.
	entered bool

	// peer keeps one slave open: a master without any reads EIO and polls as
	// ready for as long as the instance holds none, which inits do at times.
	peer *os.File

	// guard is what the init stage runs from, until that has its order.
	guard *os.File

	// child and watching are for one that is watched by Watch.
	child    *os.Process
	watching sync.Once

	mu       sync.Mutex
	emulated syscall.Signal
	exit     Exit
	done     chan struct{}
}

// Wait returns once pid 1 is dead and with it everything in its pid namespace.
// Any number of callers may wait.
func (p *Process) Wait() Exit {
	<-p.done
	return p.exit
}

// Done is closed when Wait would return at once.
func (p *Process) Done() <-chan struct{} { return p.done }

// EndConsole makes reads of Console end (EIO) after what is still in it. To be
// called after Wait.
func (p *Process) EndConsole() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.peer != nil {
		p.peer.Close()
		p.peer = nil
	}
}

// Close gives back the descriptors. The process is not touched, but it loses
// its console: call Wait first.
func (p *Process) Close() {
	p.EndConsole()
	p.closeGuard()
	for _, f := range []*os.File{p.Console, p.Stdin, p.Stdout, p.Stderr} {
		if f != nil {
			f.Close()
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.PidFD >= 0 {
		unix.Close(p.PidFD)
		p.PidFD = -1
	}
}

func (p *Process) closeGuard() {
	if p.guard != nil {
		p.guard.Close()
		p.guard = nil
	}
}

// Resize sets the console's size; pid 1's foreground group is told.
func (p *Process) Resize(rows, cols uint16) error {
	if p.Console == nil || rows == 0 || cols == 0 {
		return nil
	}
	return controlFile(p.Console, func(fd int) error {
		return unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: cols})
	})
}

// ended is called once, by the goroutine that reaped the process.
func (p *Process) ended(status syscall.WaitStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.exit = exitOf(status, p.emulated); p.entered && status.Signaled() {
		p.exit = Exit{Signal: int(status.Signal()), Reason: ReasonSignal}
	}
	close(p.done)
}

// exitOf: reboot(2) inside a pid namespace ends its pid 1, and the parent sees
// SIGINT for halt and power off, SIGHUP for restart (kernel/pid_namespace.c,
// reboot_pid_ns). Nothing else lets pid 1 die of these two: they are dropped
// when it has no handler, and ours is an emulation.
func exitOf(status syscall.WaitStatus, emulated syscall.Signal) Exit {
	if !status.Signaled() {
		return Exit{Code: status.ExitStatus(), Reason: ReasonExited}
	}
	switch sig := status.Signal(); {
	case sig == unix.SIGINT:
		return Exit{Signal: int(sig), Reason: ReasonPoweroff}
	case sig == unix.SIGHUP:
		return Exit{Signal: int(sig), Reason: ReasonReboot}
	case sig == unix.SIGKILL && emulated != 0:
		return Exit{Signal: int(emulated), Reason: ReasonSignal}
	default:
		return Exit{Signal: int(sig), Reason: ReasonSignal}
	}
}

// controlFile does not use File.Fd, which may make the file blocking.
func controlFile(file *os.File, do func(fd int) error) error {
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var doErr error
	if err := raw.Control(func(fd uintptr) { doErr = do(int(fd)) }); err != nil {
		return err
	}
	return doErr
}
