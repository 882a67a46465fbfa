// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// answerLimit is how long a supervisor may take to answer at all.
	answerLimit = 3 * time.Second
	// endLimit is how long everything may take after the SIGKILL.
	endLimit = 15 * time.Second
	// DefaultStopTimeout is Kill's for a signal that comes without one.
	DefaultStopTimeout = 10 * time.Second
)

// Kill ends all processes of the instance and returns when they are gone, the
// exit is recorded and the lock is free. sig 0 or SIGKILL is at once; with any
// other, pid 1 gets timeout to end by itself (DefaultStopTimeout when 0). It
// works at any moment after the start has begun. A supervisor that does not
// answer is killed, and pid 1 with it. An instance that is not running is a
// success, and what a dead supervisor left of it is removed.
func Kill(ctx context.Context, dir string, sig syscall.Signal, timeout time.Duration) error {
	if timeout <= 0 {
		timeout = DefaultStopTimeout
	}
	if sig == 0 || sig == unix.SIGKILL {
		timeout = 0
	}
	status, err := Read(dir)
	if err != nil {
		return err
	}
	if status.Alive() {
		q := request{Op: opKill, Signal: int(sig), TimeoutMS: timeout.Milliseconds()}
		_, err = askExit(ctx, dir, q, timeout+endLimit)
	}
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("cannot kill instance: %w", context.Cause(ctx))
	case err != nil && !errors.Is(err, ErrNotRunning):
		if err := forceKill(ctx, dir); err != nil {
			return err
		}
	}
	return Clean(ctx, dir)
}

// Clean removes what a supervisor that was killed left: processes that outlived
// it, its cgroup and its socket, and records and tells the end that it could not.
// It does nothing to an instance that is running, and little to one that ended
// well.
func Clean(ctx context.Context, dir string) error {
	lock, err := takeExistingLock(dir)
	if lock == nil {
		return err
	}
	defer unlock(lock)
	return clearRemains(ctx, dir)
}

// Remains tells whether Clean has something to do: a supervisor was killed, and
// its pid 1 or its socket is still there. Its cgroup the caller knows.
func Remains(dir string) bool {
	status, err := load(dir)
	if held, lockErr := lockHeld(dir); err != nil || lockErr != nil || held || !status.Alive() {
		return false
	}
	if fd, err := openProcess(status.PID, status.PIDStart); err == nil {
		defer unix.Close(fd)
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, _ := unix.Poll(fds, 0); n == 0 { // not even a zombie
			return true
		}
	}
	_, err = os.Lstat(filepath.Join(dir, socketFile))
	return err == nil
}

// clearRemains is for the holder of the lock. A pid 1 that cleared its own
// parent-death signal outlives its supervisor.
func clearRemains(ctx context.Context, dir string) error {
	status, err := load(dir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	if status.Alive() {
		err = errors.Join(killProcess(ctx, status.PID, status.PIDStart), removeGroup(ctx, status.Cgroup))
		if removeErr := os.Remove(filepath.Join(dir, socketFile)); !errors.Is(removeErr, os.ErrNotExist) {
			err = errors.Join(err, removeErr)
		}
		// A full disk changes nothing but when it is told: the lock says that it is over.
		if lossErr := status.recordLoss(dir); !errors.Is(lossErr, unix.ENOSPC) && !errors.Is(lossErr, unix.EDQUOT) {
			err = errors.Join(err, lossErr)
		}
	}
	dropSupervisors(status.Cgroup, status.SupervisorPID)
	return err
}

// forceKill is for a supervisor that holds the lock and does not do its work.
func forceKill(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, endLimit)
	defer cancel()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		status, err := Read(dir)
		if err != nil || !status.Alive() {
			return err
		}
		// Before it has written its pid there is only the launcher to wait for.
		err = errors.Join(killProcess(ctx, status.SupervisorPID, status.SupervisorStart),
			killProcess(ctx, status.PID, status.PIDStart))
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("cannot kill instance: its lock in %s stays held: %w", dir, context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}

// Signal sends sig to pid 1 and does not wait for what comes of it.
func Signal(ctx context.Context, dir string, sig syscall.Signal) error {
	_, err := ask(ctx, dir, request{Op: opSignal, Signal: int(sig)})
	return err
}

// Resize sets the console's size.
func Resize(ctx context.Context, dir string, rows, cols uint16) error {
	_, err := ask(ctx, dir, request{Op: opResize, Rows: rows, Cols: cols})
	return err
}

// Info is Read with what only the supervisor knows: LogLost up to now.
func Info(ctx context.Context, dir string) (Status, error) {
	r, err := ask(ctx, dir, request{Op: opInfo})
	if err != nil {
		return Status{}, err
	}
	if r.Status == nil {
		return Status{}, errors.New("cannot get status: the supervisor gave none")
	}
	return *r.Status, nil
}

// Wait returns how the instance's present run ends, or how its last one did. One
// that has not been started since boot is ErrNotRunning.
func Wait(ctx context.Context, dir string) (Exit, error) {
	exit, err := askExit(ctx, dir, request{Op: opWait}, 0)
	if err == nil {
		return exit, nil
	}
	if ctx.Err() != nil {
		return Exit{}, fmt.Errorf("cannot wait for instance: %w", context.Cause(ctx))
	}
	// Dead before, or the supervisor was killed meanwhile.
	status, readErr := Read(dir)
	switch {
	case readErr != nil:
		return Exit{}, readErr
	case status.Exit != nil:
		return *status.Exit, nil
	case status.State == "":
		return Exit{}, ErrNotRunning
	}
	return Exit{}, err
}

// ask is for requests with one reply.
func ask(ctx context.Context, dir string, q request) (reply, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := dial(ctx, dir)
	if err != nil {
		return reply{}, err
	}
	defer conn.Close()
	return talk(ctx, conn, bufio.NewReader(conn), &q)
}

// askExit is for requests whose second reply comes at the instance's end. limit
// 0 is none.
func askExit(ctx context.Context, dir string, q request, limit time.Duration) (Exit, error) {
	first, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := dial(first, dir)
	if err != nil {
		return Exit{}, err
	}
	defer conn.Close()
	r := bufio.NewReader(conn)
	if _, err := talk(first, conn, r, &q); err != nil {
		return Exit{}, err
	}
	if limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	last, err := talk(ctx, conn, r, nil)
	if err != nil {
		return Exit{}, err
	}
	if last.Exit == nil {
		return Exit{}, errors.New("cannot wait for instance: the supervisor did not say how it ended")
	}
	return *last.Exit, nil
}

// talk sends q, if any, and reads a reply, no longer than ctx lasts.
func talk(ctx context.Context, conn *net.UnixConn, r *bufio.Reader, q *request) (reply, error) {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	if q != nil {
		if err := writeLine(conn, q); err != nil {
			return reply{}, fmt.Errorf("cannot reach supervisor: %w", err)
		}
	}
	var a reply
	if err := readLine(r, &a); err != nil {
		return reply{}, fmt.Errorf("cannot reach supervisor: %w", err)
	}
	if a.Error != "" {
		return reply{}, fmt.Errorf("supervisor: %s", a.Error)
	}
	return a, nil
}
