// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/fault"
	"firmwared/core/sandbox"
)

// SuperviseArg is argv[1] of a detached supervisor: the program that Launch runs,
// Spec.Sandbox.Program, must call Main when it sees it.
const SuperviseArg = "supervise"

// Descriptors of a detached supervisor, after stdio. The order numbers the others.
const (
	launchFD = 3 + iota
	lockFD
	mostFD = lockFD + 3
)

// launchOrder is what Launch sends, launchAnswer what comes back once. With Await
// there is an answer before that one, which has the init stage in Made; the
// supervisor goes on when it gets a launchGo.
type launchOrder struct {
	Build string `json:"build"`
	Spec  Spec   `json:"spec"`
	// Descriptors, 0 is none.
	Viewer int  `json:"viewer,omitempty"`
	Hold   int  `json:"hold,omitempty"`
	Await  bool `json:"await,omitempty"`
}

type launchAnswer struct {
	Made    int              `json:"made,omitempty"`
	Status  Status           `json:"status"`
	Failure *sandbox.Failure `json:"failure,omitempty"`
}

type launchGo struct {
	Env []string `json:"env"`
}

// Launch starts the instance under a supervisor of its own, which leaves the
// caller's session and cgroup and outlives it. It returns when pid 1 runs its
// program, or with ErrRunning, a *sandbox.ExecError, a *sandbox.StageError or
// another error.
func Launch(ctx context.Context, spec Spec) (Status, error) {
	return launch(ctx, spec, nil)
}

// LaunchAttached is Launch with a viewer that is there before pid 1 is, and so
// misses nothing. The caller must Run or Close the session.
func LaunchAttached(ctx context.Context, spec Spec) (Status, *Session, error) {
	ours, theirs, err := socketpair()
	if err != nil {
		return Status{}, nil, err
	}
	defer theirs.Close()
	status, err := launch(ctx, spec, theirs)
	if err != nil {
		ours.Close()
		return Status{}, nil, err
	}
	return status, newSession(ours, bufio.NewReader(ours)), nil
}

func launch(ctx context.Context, spec Spec, viewer *os.File) (Status, error) {
	if err := spec.validate(); err != nil {
		return Status{}, err
	}
	lock, err := claim(ctx, spec.Dir)
	if err != nil {
		return Status{}, err
	}
	defer lock.Close()
	conn, theirs, err := socketpair()
	if err != nil {
		return Status{}, err
	}
	defer conn.Close()
	o := launchOrder{Build: sandbox.Build}
	files := []*os.File{theirs, lock}
	pass := func(file *os.File) int {
		files = append(files, file)
		return launchFD + len(files) - 1
	}
	if viewer != nil {
		o.Viewer = pass(viewer)
	}
	if spec.After != nil && spec.Sandbox.Program != "" {
		// By descriptor: when it is due, the path may lead to nothing, or elsewhere.
		self, err := os.OpenFile("/proc/self/exe", unix.O_PATH, 0)
		if err != nil {
			return Status{}, fmt.Errorf("cannot open this program: %w", err)
		}
		defer self.Close()
		after := *spec.After
		after.FD = pass(self)
		spec.After = &after
	}
	if spec.Hold != nil {
		o.Hold = pass(spec.Hold)
	}
	fault.Point("launch.claimed")
	child, err := spawnSupervisor(spec, files)
	fault.Point("launch.spawned")
	theirs.Close()
	if err != nil {
		return Status{}, fmt.Errorf("cannot start supervisor: %w", err)
	}
	status := Status{}
	if err = spec.filterDevices(ctx); err == nil { // while the program starts
		o.Spec, o.Await = spec, spec.RaiseNet != nil
		status, err = order(ctx, conn, child, o)
	}
	if err == nil {
		// It outlives this process, usually; if not, it must not stay a zombie.
		fault.Point("launch.answered")
		go func() { _, _ = child.Wait() }()
		return status, nil
	}
	_ = child.Kill()
	_, _ = child.Wait()
	defer unlock(lock)
	return Status{}, errors.Join(err, sweep(spec.Dir, spec.Cgroup, child.Pid))
}

// claim takes the lock and clears what the last run left.
func claim(ctx context.Context, dir string) (*os.File, error) {
	lock, err := takeLock(dir)
	if err != nil {
		return nil, err
	}
	if err := clearRemains(ctx, dir); err != nil {
		unlock(lock)
		return nil, err
	}
	if err := os.Remove(filepath.Join(dir, statusFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		unlock(lock)
		return nil, fmt.Errorf("cannot remove old status: %w", err)
	}
	return lock, nil
}

// sweep is for a start that failed and whose processes are gone, or are about to
// be killed with the group.
func sweep(dir string, group []string, child int) error {
	ctx, cancel := context.WithTimeout(context.Background(), emptyLimit)
	defer cancel()
	if status, err := load(dir); err == nil && !status.StartedAt.IsZero() && status.Exit == nil {
		status.lose()
		status.tellDead()
	}
	for _, name := range []string{statusFile, statusFile + ".new", socketFile} {
		_ = os.Remove(filepath.Join(dir, name))
	}
	err := removeGroup(ctx, group)
	dropSupervisors(group, child)
	return err
}

// order holds the dialogue with the new supervisor.
func order(ctx context.Context, conn *net.UnixConn, child *os.Process, o launchOrder) (Status, error) {
	stop := context.AfterFunc(ctx, func() { _ = child.Kill() })
	defer stop()
	err := writeLine(conn, o)
	var answer launchAnswer
	answers := bufio.NewReader(conn)
	if err == nil {
		err = readLine(answers, &answer)
	}
	if err == nil && answer.Made != 0 {
		var env []string
		if env, err = raiseNet(o.Spec.RaiseNet, answer.Made, child.Pid); err != nil {
			return Status{}, err
		}
		answer = launchAnswer{}
		if err = writeLine(conn, launchGo{env}); err == nil {
			err = readLine(answers, &answer)
		}
	}
	switch {
	case ctx.Err() != nil:
		return Status{}, fmt.Errorf("cannot start instance: %w", context.Cause(ctx))
	case errors.Is(err, io.EOF) || errors.Is(err, unix.EPIPE) || errors.Is(err, unix.ECONNRESET):
		return Status{}, errors.New("cannot start instance: the supervisor died")
	case err != nil:
		return Status{}, fmt.Errorf("cannot start instance: %w", err)
	case answer.Failure != nil:
		// It ends by itself now; what it could not remove, sweep will.
		awaitExit(child)
		return Status{}, answer.Failure.Err()
	}
	return answer.Status, nil
}

// awaitExit gives a supervisor that failed the time to end cleanly.
func awaitExit(child *os.Process) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*emptyLimit)
	defer cancel()
	if fd, err := unix.PidfdOpen(child.Pid, 0); err == nil {
		awaitDeath(ctx, fd)
		unix.Close(fd)
	}
}

// supervisorEnv keeps the runtime of a process that mostly sleeps small.
var supervisorEnv = []string{"GOMAXPROCS=1"}

func spawnSupervisor(spec Spec, files []*os.File) (*os.Process, error) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	files = append([]*os.File{null, null, null}, files...)
	args := []string{os.Args[0], SuperviseArg, spec.Name}
	spawn := func(group []string) (*os.Process, error) {
		return sandbox.Spawn(spec.Sandbox.Program, group, &syscall.SysProcAttr{Setsid: true}, args, supervisorEnv, files)
	}
	if len(spec.Cgroup) == 0 {
		return spawn(nil)
	}
	group := supervisorsOf(spec.Cgroup)
	for attempt := 0; ; attempt++ {
		_, err := cgroup.Make(group...)
		if errors.Is(err, cgroup.ErrNone) {
			return spawn(nil)
		}
		var child *os.Process
		if err == nil {
			child, err = spawn(group)
		}
		// Another command may just have removed the empty group.
		gone := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV)
		if !gone || attempt == 10 {
			return child, err
		}
		time.Sleep(time.Millisecond)
	}
}

func socketpair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make socket pair: %w", err)
	}
	ours, theirs := os.NewFile(uintptr(fds[0]), "socket"), os.NewFile(uintptr(fds[1]), "socket")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("cannot use socket pair: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}
