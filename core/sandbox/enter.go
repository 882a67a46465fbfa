// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// entry is what a stage that enters an instance is told besides the Spec.
type entry struct {
	// Files is pid 1's limit of open files: the Go runtime raised this one's, and
	// nothing gives it back at a raw execve(2).
	Files unix.Rlimit `json:"files"`
}

// pid1FD is where the stage finds the pidfd of the instance's pid 1.
const pid1FD = controlFD + 1

// stuckLimit is what a start that was cancelled gets to clean up. A process that
// is born into a frozen cgroup leaves the kernel only when that is thawed; it is
// killed then, because its parent is gone.
const stuckLimit = time.Second

// Enter runs a command in the instance whose pid 1 is pidfd, with the same
// confinement: in all its namespaces and in the cgroup spec.Cgroup. Of the Spec
// what makes an instance (Root, Hostname, APIMounts, Binds, Net) is left out.
// With Terminal the command gets a pty of the instance's devpts, which is
// Process.Console. It returns once the command runs, or as Start does; when ctx
// ends it returns in any case. The command dies with the calling process.
func Enter(ctx context.Context, pidfd, pid int, spec Spec) (*Process, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	type answer struct {
		process *Process
		err     error
	}
	started := make(chan answer, 1)
	go func() {
		// As in Start: this thread is the command's parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p := &Process{PidFD: -1, entered: true, done: make(chan struct{})}
		err := p.enter(ctx, pidfd, pid, &spec)
		started <- answer{p, err}
		if err == nil {
			p.ended(p.reap())
		}
	}()
	select {
	case a := <-started:
		return a.process, a.err
	case <-ctx.Done():
	}
	select {
	case a := <-started:
		return a.process, a.err
	case <-time.After(stuckLimit):
		return nil, stage("start", "the command", context.Cause(ctx))
	}
}

// enter runs on the thread that is to be the command's parent.
func (p *Process) enter(ctx context.Context, pidfd, pid int, spec *Spec) (err error) {
	defer func() {
		if err != nil {
			p.kill()
			p.Close()
		}
	}()
	var e entry
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &e.Files); err != nil {
		return stage("read limits of", "pid 1", err)
	}
	stdio, err := p.openStdio(spec)
	if err != nil {
		return err
	}
	defer closeAll(stdio)
	conn, theirs, err := controlPair()
	if err != nil {
		return err
	}
	reader := &stageReader{conn: conn}
	defer reader.close()
	child, err := spawnEntry(spec, pidfd, append(stdio, theirs))
	theirs.Close()
	if err != nil {
		return stage("start", "the init stage", err)
	}
	// The stage is only the messenger; it is gone when the command runs.
	err = p.prepare(ctx, stageOrder{Spec: *spec, Enter: &e}, child, reader)
	if err != nil {
		_ = child.Kill()
	}
	if status := reap(child); err == nil && status != 0 {
		err = stage("start", "the command", errors.New("the init stage died"))
	}
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = stage("start", "the command", cause)
	}
	return err
}

func spawnEntry(spec *Spec, pidfd int, files []*os.File) (*os.Process, error) {
	exe, err := sealedSelf()
	if err != nil {
		return nil, err
	}
	defer exe.Close()
	fd, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	pid1 := os.NewFile(uintptr(fd), "pid 1")
	defer pid1.Close()
	path := fmt.Sprintf("/proc/self/fd/%d", exe.Fd())
	attr := &syscall.SysProcAttr{Pdeathsig: unix.SIGKILL}
	// One thread less to count against the instance's limit of processes.
	env := []string{"GOMAXPROCS=1"}
	return spawn(path, spec.Cgroup, attr, []string{os.Args[0], InitArg}, env, append(files, pid1))
}

// sealedSelf is a copy of this program that nobody can write to, not even who
// opens it as /proc/PID/exe of the process that is to become the command
// (CVE-2019-5736). It lives in memory as long as something runs it.
func sealedSelf() (*os.File, error) {
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return nil, err
	}
	defer self.Close()
	fd, err := unix.MemfdCreate("firmwared", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all are executable
		fd, err = unix.MemfdCreate("firmwared", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make memory file: %w", err)
	}
	copied := os.NewFile(uintptr(fd), "firmwared")
	if _, err = io.Copy(copied, self); err == nil {
		seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
		_, err = unix.FcntlInt(copied.Fd(), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		copied.Close()
		return nil, fmt.Errorf("cannot copy this program: %w", err)
	}
	return copied, nil
}

// adopt takes the process that the stage forked, which the kernel made a child
// of this thread (CLONE_PARENT). The number is believed only if it is: until it
// is reaped it cannot be anybody else's.
func (p *Process) adopt(pid int) error {
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, pid, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil)
	if err != nil {
		return stage("start", "the command", fmt.Errorf("process %d is no child: %w", pid, err))
	}
	p.Pid = pid
	p.PidFD, err = unix.PidfdOpen(pid, 0)
	return stage("open pidfd of", "the command", err)
}

// kill ends a command that was adopted and is not to run.
func (p *Process) kill() {
	if p.Pid == 0 {
		return
	}
	_ = unix.Kill(p.Pid, unix.SIGKILL)
	p.reap()
}

func (p *Process) reap() syscall.WaitStatus {
	var status unix.WaitStatus
	for {
		_, err := unix.Wait4(p.Pid, &status, 0, nil)
		switch {
		case err == nil:
			return syscall.WaitStatus(status)
		case !errors.Is(err, unix.EINTR):
			return syscall.WaitStatus(unix.SIGKILL)
		}
	}
}
