// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"context"
	"fmt"
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
		// As in Start: this thread is the stage's parent.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		p := &Process{PidFD: -1, entered: true, done: make(chan struct{})}
		stage, err := p.enter(ctx, pidfd, pid, &spec)
		started <- answer{p, err}
		if err == nil {
			p.ended(stage.await())
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

// enteringStage is the stage while its command runs. It is the command's parent,
// and not the caller, because of what a caller may do: the kernel ends a pid
// namespace only when every process of it is reaped (zap_pid_ns_processes), so a
// caller that is stopped by Ctrl-Z would stop `kill`, too.
type enteringStage struct {
	child  *os.Process
	reader *stageReader
}

// await returns how the command ended; as killed, when the stage was.
func (s *enteringStage) await() syscall.WaitStatus {
	status := syscall.WaitStatus(unix.SIGKILL)
	for {
		message, err := s.reader.next()
		if err != nil {
			break
		}
		if message.Exit != nil {
			status = syscall.WaitStatus(*message.Exit)
		}
	}
	s.reader.close()
	reap(s.child)
	return status
}

// enter runs on the thread that is to be the stage's parent. A stage that fails
// takes the command with it.
func (p *Process) enter(ctx context.Context, pidfd, pid int, spec *Spec) (_ *enteringStage, err error) {
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	var e entry
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &e.Files); err != nil {
		return nil, stage("read limits of", "pid 1", err)
	}
	stdio, err := p.openStdio(spec)
	if err != nil {
		return nil, err
	}
	defer closeAll(stdio)
	conn, theirs, err := controlPair()
	if err != nil {
		return nil, err
	}
	reader := &stageReader{conn: conn}
	child, err := spawnEntry(spec, pidfd, append(stdio, theirs))
	theirs.Close()
	if err != nil {
		reader.close()
		return nil, stage("start", "the init stage", err)
	}
	err = p.prepare(ctx, stageOrder{Build: Build, Spec: *spec, Enter: &e}, child, reader)
	if err == nil {
		return &enteringStage{child, reader}, nil
	}
	_ = child.Kill()
	reap(child)
	reader.close()
	if cause := context.Cause(ctx); cause != nil {
		err = stage("start", "the command", cause)
	}
	return nil, err
}

func spawnEntry(spec *Spec, pidfd int, files []*os.File) (*os.Process, error) {
	exe, err := guardedProgram(spec.program())
	if err != nil {
		return nil, err
	}
	defer exe.Close() // so before the stage has its order
	fd, err := unix.FcntlInt(uintptr(pidfd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	pid1 := os.NewFile(uintptr(fd), "pid 1")
	defer pid1.Close()
	path := fmt.Sprintf("/proc/self/fd/%d", exe.Fd())
	attr := &syscall.SysProcAttr{Setsid: true, Pdeathsig: unix.SIGKILL}
	// One thread less to count against the instance's limit of processes.
	env := []string{"GOMAXPROCS=1"}
	return spawn(path, spec.Cgroup, attr, []string{os.Args[0], InitArg}, env, append(files, pid1))
}

// adopt takes the process that the stage, parent, says it forked. The number is
// believed only if it is the stage's child, which it does not reap before it is
// told to go on.
func (p *Process) adopt(pid, parent int) (err error) {
	if p.PidFD, err = unix.PidfdOpen(pid, 0); err != nil {
		return stage("open pidfd of", "the command", err)
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err == nil && !bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", parent)) {
		err = fmt.Errorf("process %d is not what the init stage started", pid)
	}
	p.Pid = pid
	return stage("start", "the command", err)
}
