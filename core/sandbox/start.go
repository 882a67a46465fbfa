// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"

	"firmwared/core/fault"
)

// InitArg is argv[1] of the init stage: the program that Start runs, Spec.Program,
// must call Main when it sees it.
const InitArg = "init"

// Start returns once pid 1 runs its program, or with a *StageError or an
// *ExecError. ctx bounds the start only, not the life of the process.
func Start(ctx context.Context, spec Spec) (*Process, error) {
	if err := spec.Validate(); err != nil {
		return nil, err
	}
	type answer struct {
		process *Process
		err     error
	}
	started := make(chan answer, 1)
	go func() {
		// The parent-death signal fires at the death of the thread that made the
		// process, not of the whole program (prctl(2)). Go ends threads as it
		// likes, so this one is kept until the process is reaped.
		runtime.LockOSThread()
		if spec.IDs == nil { // else it shares its working directory with nobody: it must end
			defer runtime.UnlockOSThread()
		}
		process, child, err := start(ctx, &spec)
		if err == nil {
			process.watching.Do(func() {}) // here
		}
		started <- answer{process, err}
		if err == nil {
			process.ended(reap(child))
		}
	}()
	a := <-started
	return a.process, a.err
}

// start runs on the thread that is to be pid 1's parent.
func start(ctx context.Context, spec *Spec) (_ *Process, _ *os.Process, err error) {
	p := &Process{PidFD: -1, done: make(chan struct{})}
	defer func() {
		if err != nil {
			p.Close()
		}
	}()
	stdio, err := p.openStdio(spec)
	if err != nil {
		return nil, nil, err
	}
	defer closeAll(stdio)
	passed, err := spec.openPassed()
	if err != nil {
		return nil, nil, err
	}
	defer closeAll(passed)
	conn, theirs, err := controlPair()
	if err != nil {
		return nil, nil, err
	}
	reader := &stageReader{conn: conn}
	defer reader.close()
	child, err := p.clone(spec, slices.Concat(stdio, []*os.File{theirs}, passed))
	theirs.Close()
	if err != nil {
		return nil, nil, err
	}
	fault.Point("sandbox.cloned")
	if spec.Made != nil {
		var env []string
		env, err = awaitMade(spec.Made, child.Pid)
		spec.Env = append(env, spec.Env...)
	}
	if err == nil {
		err = p.prepare(ctx, stageOrder{Build: Build, Spec: *spec}, child, reader)
	}
	if err == nil {
		err = spec.Confine.checkProfile(p.Pid, p.PidFD)
	}
	if err != nil {
		_ = child.Kill()
		reap(child)
		if cause := context.Cause(ctx); cause != nil {
			err = stage("start", "pid 1", cause)
		}
		return nil, nil, err
	}
	return p, child, nil
}

// awaitMade calls made on a thread like all others: the calling one has a working
// directory of its own, and is the init stage's parent.
func awaitMade(made func(int) ([]string, error), pid int) (env []string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		env, err = made(pid)
	}()
	<-done
	return env, err
}

// clone starts the init stage in its namespaces and cgroup.
func (p *Process) clone(spec *Spec, files []*os.File) (*os.Process, error) {
	attr := &syscall.SysProcAttr{
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Setsid:     true,
		Pdeathsig:  unix.SIGKILL,
	}
	if spec.Net != NetHost {
		attr.Cloneflags |= unix.CLONE_NEWNET
	}
	var err error
	if p.guard, err = guardedProgram(spec.program()); err != nil {
		return nil, stage("clone", "the init stage", err)
	}
	program := fmt.Sprintf("/proc/self/fd/%d", p.guard.Fd())
	var child *os.Process
	spawn := func() (err error) {
		child, err = spawn(program, spec.Cgroup, attr, []string{os.Args[0], InitArg}, nil, files)
		return err
	}
	if spec.IDs == nil {
		err = spawn()
	} else {
		spec.IDs.intoUserNS(attr)
		err = bornIn(spec.Root, spawn)
	}
	if err != nil {
		return nil, stage("clone", "the init stage", err)
	}
	p.Pid = child.Pid
	// The child is ours and unreaped, so its number cannot have been reused.
	if p.PidFD, err = unix.PidfdOpen(child.Pid, 0); err != nil {
		_ = child.Kill()
		reap(child)
		return nil, stage("open pidfd of", "the init stage", err)
	}
	return child, nil
}

// Spawn runs a program, the calling one when that is empty, with nothing but env as
// its environment, in / and in the existing cgroup2 group elem (none when empty);
// with a new user namespace it stays in the calling thread's working directory. The
// kernel puts it there at birth, so that nothing of it is ever outside; without
// clone3 it is moved, and must therefore not be told to do anything before Spawn
// returns.
func Spawn(program string, elem []string, attr *syscall.SysProcAttr, args, env []string, files []*os.File) (*os.Process, error) {
	if program == "" {
		program = ownProgram
	}
	return spawn(program, elem, attr, args, env, files)
}

func spawn(exe string, elem []string, attr *syscall.SysProcAttr, args, env []string, files []*os.File) (*os.Process, error) {
	dir := "/"
	if attr.Cloneflags&unix.CLONE_NEWUSER != 0 {
		dir = "" // see bornIn
	}
	proc := &os.ProcAttr{Dir: dir, Env: append(append([]string{}, fault.Env()...), env...), Files: files, Sys: attr}
	if len(elem) == 0 {
		return os.StartProcess(exe, args, proc)
	}
	group := cgroup.Open(elem...)
	at, err := group.Dir()
	if err != nil {
		return nil, err
	}
	defer at.Close()
	attr.UseCgroupFD, attr.CgroupFD = true, int(at.Fd())
	if !testOnlyNoClone3 {
		child, err := os.StartProcess(exe, args, proc)
		if err == nil || !cloneUnsupported(err) {
			return child, err
		}
	}
	attr.UseCgroupFD = false
	child, err := os.StartProcess(exe, args, proc)
	if err != nil {
		return nil, err
	}
	pid := []byte(strconv.Itoa(child.Pid))
	if err := os.WriteFile(group.Path()+"/cgroup.procs", pid, 0); err != nil {
		_ = child.Kill()
		reap(child)
		return nil, err
	}
	return child, nil
}

// testOnlyNoClone3 takes the way of an old kernel.
var testOnlyNoClone3 bool

// cloneUnsupported: no clone3 (a seccomp filter may say EPERM), or one without
// CLONE_INTO_CGROUP.
func cloneUnsupported(err error) bool {
	return errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EINVAL) ||
		errors.Is(err, unix.EPERM) || errors.Is(err, unix.E2BIG)
}

// prepare holds the dialogue with the init stage.
func (p *Process) prepare(ctx context.Context, order stageOrder, child *os.Process, reader *stageReader) error {
	stop := context.AfterFunc(ctx, func() { _ = child.Kill() })
	defer stop()
	if order.Spec.Cell != "" {
		enter := cgroup.EnterCell
		if like := order.Spec.CellAs; like != 0 {
			enter = func(pid int, name string) error { return cgroup.EnterCellAs(pid, like, name) }
		}
		if err := enter(child.Pid, order.Spec.Cell); err != nil {
			return stage("hide the cgroups of this machine from", "the init stage", err)
		}
	}
	if len(order.Spec.LegacyCgroup) > 0 {
		// It waits for its spec, so nothing of it is ever outside.
		if err := cgroup.EnterLegacy(child.Pid, order.Spec.LegacyCgroup...); err != nil {
			return stage("limit", "the init stage", err)
		}
	}
	if len(order.Spec.DeviceGroup) > 0 {
		// It waits for its spec, so it opens nothing before.
		if err := cgroup.EnterDevices(child.Pid, order.Spec.DeviceGroup...); err != nil {
			return stage("filter devices of", "the init stage", err)
		}
	}
	if err := sendOrder(reader.conn, order); err != nil {
		return stage("start", "the init stage", err)
	}
	p.closeGuard() // while the stage works, and before it is told to go on
	ready := false
	for {
		message, err := reader.next()
		switch {
		case errors.Is(err, io.EOF) && ready && !p.entered:
			return nil
		case err != nil:
			return stage("start", "the init stage", fmt.Errorf("it died: %w", err))
		case message.Failure != nil:
			return message.Failure.Err()
		case message.Console:
			if err := p.openConsole(reader); err != nil {
				return err
			}
		case message.PID != 0 && p.entered && p.Pid == 0:
			if err := p.adopt(message.PID, child.Pid); err != nil {
				return err
			}
		case message.Running:
			return nil
		case message.Ready:
			ready = true
			if _, err := reader.conn.Write([]byte{'g'}); err != nil {
				return stage("start", "the init stage", err)
			}
		}
	}
}

// reap returns how child ended.
func reap(child *os.Process) syscall.WaitStatus {
	state, err := child.Wait()
	if err != nil {
		// Somebody else reaped it: how it ended is lost, that it ended is not.
		return syscall.WaitStatus(unix.SIGKILL)
	}
	return state.Sys().(syscall.WaitStatus)
}
