// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A command that enters an instance is born there with nothing to take: an
// instance without a user namespace has CAP_SYS_PTRACE over every process that
// it can name, whatever that process's dumpable flag says. So the stage stays
// outside of the pid namespace, where the instance cannot name it, while one of
// its threads joins everything else, is confined, and only then forks the
// process that is in the pid namespace. That one is a copy without shared
// memory, has the credentials, root and working directory of a program of the
// instance, and three descriptors besides its end of a socket.

// enterInstance returns only when the command does not run.
func (s *initStage) enterInstance(e *entry) error {
	unix.CloseOnExec(pid1FD)
	s.entersUserNS = s.spec.IDs != nil
	if err := closeFrom(pid1FD + 1); err != nil {
		return stage("close", "descriptors", err)
	}
	for _, step := range []func() error{
		// For what a user namespace, or a lack of CAP_SYS_PTRACE, does protect.
		func() error { return stage("protect", "the stage", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)) },
		s.loadCaps,
		s.leaveKeyring,
		s.makeProc,
		s.joinNamespaces,
		s.openEnteredTerminal,
		func() error {
			return stage("set limit of", "open files", unix.Prlimit(0, unix.RLIMIT_NOFILE, &e.Files, nil))
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return s.confineAndExec(s.forkAndExec)
}

// closeFrom: close-on-exec is not enough, because the child has the stage's
// descriptors until it has become the command. What the Go runtime holds since
// its start (a group's cpu.max, from Go 1.25 on) it can do without.
func closeFrom(first uint) error {
	err := unix.CloseRange(first, 1<<32-1, 0)
	if errors.Is(err, unix.ENOSYS) {
		for fd := int(first); fd < 1024; fd++ {
			unix.Close(fd)
		}
		return nil
	}
	return err
}

// joinNamespaces leaves the thread in the root of the instance's mount
// namespace. Its children, not itself, will be in the pid namespace. One call by
// pidfd takes all of one process or none (Linux 5.8).
func (s *initStage) joinNamespaces() error {
	// setns(2) refuses a mount namespace while threads share their root.
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return stage("unshare", "root directory", err)
	}
	const all = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
		unix.CLONE_NEWNET | unix.CLONE_NEWCGROUP
	err := unix.Setns(pid1FD, all)
	if errors.Is(err, unix.ESRCH) {
		err = errors.New("its pid 1 is dead")
	}
	if s.spec.IDs == nil {
		unix.Close(pid1FD)
	} // else the command's own process needs it
	return stage("join", "the instance's namespaces", err)
}

// openEnteredTerminal makes a pty the stdio. The controlling terminal is for the
// child, which leads the session. The instance may have put anything on
// /dev/pts: what is no devpts is left alone, and a pty made that is in no
// directory.
func (s *initStage) openEnteredTerminal() error {
	if !s.spec.Terminal {
		return nil
	}
	pts, err := openInRoot("dev/pts", unix.O_PATH|unix.O_DIRECTORY)
	if err == nil {
		defer unix.Close(pts)
		var fs unix.Statfs_t
		if err = unix.Fstatfs(pts, &fs); err == nil && fs.Type == unix.DEVPTS_SUPER_MAGIC {
			err = s.openPty(pts)
		} else {
			err = unix.ENODEV
		}
	}
	if err != nil {
		err = s.openOwnPty()
	}
	if err != nil {
		return err
	}
	return s.ptyAsStdio()
}

// forkAndExec makes the process that becomes the command, and stays as its parent
// to tell how it ended. That it runs is seen by the socket: execve(2) closes the
// child's end. It returns only when the command does not run.
func (s *initStage) forkAndExec(path string, env []string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return stage("make", "socket pair", err)
	}
	c := &command{ours: uintptr(pair[0]), theirs: uintptr(pair[1]), terminal: s.spec.Terminal}
	if err := c.setProgram(path, s.spec.Args, env); err != nil {
		return err
	}
	if c.join, err = s.joinAs(); err != nil {
		return err
	}
	pid, err := c.fork()
	if err != nil {
		return stage("fork", "the command", err)
	}
	unix.Close(pair[1])
	if err := tellStart(stageMessage{PID: pid}, -1); err != nil {
		return errOrphan
	}
	if err := s.awaitGo(); err != nil {
		return err
	}
	if _, err := unix.Write(pair[0], []byte{'g'}); err != nil {
		return stage("start", "the command", errors.New("it died"))
	}
	var answer [8]byte
	n, err := unix.Read(pair[0], answer[:])
	for errors.Is(err, unix.EINTR) {
		n, err = unix.Read(pair[0], answer[:])
	}
	if n == len(answer) {
		return explainExec(path, unix.Errno(binary.NativeEndian.Uint64(answer[:])))
	}
	if err := tellStart(stageMessage{Running: true}, -1); err != nil {
		return errOrphan
	}
	s.reportExit(pid)
	return nil
}

// reportExit does not return. The streams are the command's alone meanwhile: when
// it closes one, its other end is told.
func (s *initStage) reportExit(pid int) {
	for _, fd := range []int{0, 1, 2, s.slave} {
		unix.Close(fd)
	}
	var status unix.WaitStatus
	_, err := unix.Wait4(pid, &status, 0, nil)
	for errors.Is(err, unix.EINTR) {
		_, err = unix.Wait4(pid, &status, 0, nil)
	}
	code := uint32(status)
	_ = tellStart(stageMessage{Exit: &code}, -1)
	os.Exit(0)
}

// command is what the forked process needs, as the kernel takes it.
type command struct {
	path         *byte
	argv, envp   []*byte
	ours, theirs uintptr
	terminal     bool
	join         joining

	// Memory of the child's system calls: it must not allocate.
	errno   uint64
	word    [1]byte
	action  [4]uint64
	mask    uint64
	oldMask uint64
}

func (c *command) setProgram(path string, args, env []string) (err error) {
	if c.path, err = unix.BytePtrFromString(path); err != nil {
		return &ExecError{Path: path, Err: err}
	}
	if c.argv, err = syscall.SlicePtrFromStrings(args); err == nil {
		c.envp, err = syscall.SlicePtrFromStrings(env)
	}
	if err != nil {
		return fmt.Errorf("cannot pass on arguments of %s: %w", path, err)
	}
	return nil
}

// fork returns the child's number in the stage's pid namespace. Signals are kept
// away from the child until it has no handler of the Go runtime left.
func (c *command) fork() (int, error) {
	c.mask = ^uint64(0)
	const maskSize = 8
	_, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&c.mask)),
		uintptr(unsafe.Pointer(&c.oldMask)), maskSize, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	pid, errno := c.clone()
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&c.oldMask)), 0, maskSize, 0, 0)
	if errno != 0 {
		return 0, errno
	}
	return int(pid), nil
}

// cloneArgs is the first version of the kernel's struct clone_args.
type cloneArgs struct {
	flags, pidfd, childTID, parentTID, exitSignal, stack, stackSize, tls uint64
}

// clone returns in the stage only. The child is a copy of one thread of a Go
// program, so it may do raw system calls and nothing else: no allocation, no
// growing stack, no other function.
//
//go:norace
//go:noinline
//go:nosplit
func (c *command) clone() (uintptr, unix.Errno) {
	args := cloneArgs{exitSignal: uint64(unix.SIGCHLD)}
	pid, _, errno := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&args)), unsafe.Sizeof(args), 0)
	if errno != 0 || pid != 0 {
		return pid, errno
	}
	unix.RawSyscall(unix.SYS_CLOSE, c.ours, 0, 0)
	unix.RawSyscall(unix.SYS_CLOSE, controlFD, 0, 0)
	unix.RawSyscall(unix.SYS_SETSID, 0, 0, 0)
	if c.terminal {
		unix.RawSyscall(unix.SYS_IOCTL, 0, unix.TIOCSCTTY, 0)
	}
	if c.join.active {
		c.errno = uint64(c.join.enter())
	}
	// A change of credentials clears it (prctl(2)).
	unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0, 0)
	// Without the word the parent died before the line above.
	n, _, errno := unix.RawSyscall(unix.SYS_READ, c.theirs, uintptr(unsafe.Pointer(&c.word[0])), 1)
	if errno == 0 && n == 1 {
		for sig := uintptr(1); sig <= 64; sig++ {
			unix.RawSyscall6(unix.SYS_RT_SIGACTION, sig, uintptr(unsafe.Pointer(&c.action)), 0, 8, 0, 0)
		}
		c.mask = 0
		unix.RawSyscall6(unix.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&c.mask)), 0, 8, 0, 0)
		if c.errno == 0 {
			_, _, errno = unix.RawSyscall(unix.SYS_EXECVE, uintptr(unsafe.Pointer(c.path)),
				uintptr(unsafe.Pointer(&c.argv[0])), uintptr(unsafe.Pointer(&c.envp[0])))
			c.errno = uint64(errno)
		}
		unix.RawSyscall(unix.SYS_WRITE, c.theirs, uintptr(unsafe.Pointer(&c.errno)), 8)
	}
	for {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 1, 0, 0)
	}
}
