// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"errors"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// busyTries bounds the waiting for a hook that is being written: about a quarter of a second in all.
const busyTries = 8

// process is a hook that was started.
type process struct {
	pid            int
	leaf           leaf
	exited         chan struct{} // closed when it ended; it is not reaped then
	stdout, stderr *drain
}

// start makes the hook's leaf and pipes and executes it.
func (r *Runner) start(ctx context.Context, c *Call, env []string, m marks, out, talk func([]byte)) (*process, error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	p := &process{exited: make(chan struct{})}
	var outEnd, talkEnd int
	if p.stdout, outEnd, err = newDrain(out); err != nil {
		return nil, err
	}
	defer unix.Close(outEnd)
	if p.stderr, talkEnd, err = newDrain(talk); err != nil {
		_ = p.stdout.pipe.Close()
		return nil, err
	}
	defer unix.Close(talkEnd)
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   env,
		Files: []uintptr{null.Fd(), uintptr(outEnd), uintptr(talkEnd)},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	if err := r.exec(ctx, p, c, attr, m); err != nil {
		_ = p.stdout.pipe.Close()
		_ = p.stderr.pipe.Close()
		return nil, err
	}
	go p.watch()
	go p.stdout.run()
	go p.stderr.run()
	return p, nil
}

// exec starts the process in a cgroup of its own, or without one where that cannot be done.
func (r *Runner) exec(ctx context.Context, p *process, c *Call, attr *syscall.ProcAttr, m marks) (err error) {
	if g := r.newGroup(c, m); g != nil {
		p.leaf = g
		if p.pid, err = inGroup(ctx, c.Hook.Path, attr, g); err == nil {
			return nil
		}
		g.remove()
		if !noGroupStart(err) {
			return err
		}
	}
	if p.pid, err = forkExec(ctx, c.Hook.Path, attr); err != nil {
		return err
	}
	p.leaf = &session{sid: p.pid, mark: m.call}
	return nil
}

func inGroup(ctx context.Context, path string, attr *syscall.ProcAttr, g *group) (int, error) {
	dir, err := g.Dir()
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	sys := *attr.Sys
	sys.UseCgroupFD, sys.CgroupFD = true, int(dir.Fd())
	in := *attr
	in.Sys = &sys
	return forkExec(ctx, path, &in)
}

// noGroupStart tells the failures of clone3(2) with CLONE_INTO_CGROUP from those of execve(2): no such call, or a
// seccomp filter or a cgroup's rules against it.
func noGroupStart(err error) bool {
	for _, errno := range []error{unix.ENOSYS, unix.EPERM, unix.EINVAL, unix.EOPNOTSUPP, unix.EBUSY, unix.ENODEV} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// forkExec starts the program, and tries again while it is open for writing somewhere: by whoever is installing it,
// or in a descriptor that a fork elsewhere has copied.
func forkExec(ctx context.Context, path string, attr *syscall.ProcAttr) (pid int, err error) {
	// Not every library opens its files close-on-exec. Kernels before 5.11 refuse this flag: what the program does
	// at its own start has to be enough there.
	_ = unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	pause := time.Millisecond
	for range busyTries {
		pid, err = syscall.ForkExec(path, []string{path}, attr)
		if !errors.Is(err, unix.ETXTBSY) {
			return pid, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return 0, context.Cause(ctx)
		}
		pause *= 2
	}
	return 0, err
}

// watch closes exited at the process's end and leaves the zombie, so that neither its pid nor its session id can be
// given to another process while others of its session are searched.
func (p *process) watch() {
	defer close(p.exited)
	for {
		err := unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// reap takes the exit status. A process that survived its KILL, in uninterruptible sleep, is left to a goroutine.
func (p *process) reap() (syscall.WaitStatus, bool) {
	timer := time.NewTimer(killPatience)
	defer timer.Stop()
	select {
	case <-p.exited:
		return wait4(p.pid), true
	case <-timer.C:
		go func() {
			<-p.exited
			wait4(p.pid)
		}()
		return 0, false
	}
}

func wait4(pid int) (status syscall.WaitStatus) {
	for {
		if _, err := syscall.Wait4(pid, &status, 0, nil); !errors.Is(err, unix.EINTR) {
			return status
		}
	}
}
