// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	killLimit   = 2 * time.Second        // for the rounds of a kernel without cgroup.kill
	removeLimit = 500 * time.Millisecond // for the last exit to reach the group
)

// Kill sends SIGKILL to every process of the group and of the groups below, including those that fork meanwhile.
// It does not wait for their end (a process in uninterruptible sleep may take its time): that is WaitEmpty.
func (g *Group) Kill() error {
	if err := g.check(); err != nil {
		return err
	}
	// cgroup.kill came with Linux 5.14; writing it signals the whole subtree, atomically against fork.
	err := writeFile(g.dir+"/cgroup.kill", "1")
	if err == nil {
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EOPNOTSUPP) {
		if gone(err) {
			return nil
		}
		return fmt.Errorf("cannot kill cgroup: %w", err)
	}
	return g.killRounds()
}

// killRounds repeats SIGKILL until nobody is left: a process that was signalled forks no more, but its child may
// have been born between the listing and the signal.
func (g *Group) killRounds() error {
	ctx, cancel := context.WithTimeout(context.Background(), killLimit)
	defer cancel()
	for ctx.Err() == nil {
		n, err := g.signal(unix.SIGKILL)
		if err != nil || n == 0 {
			return err
		}
		round, stop := context.WithTimeout(ctx, 5*time.Millisecond)
		err = g.WaitEmpty(round)
		stop()
		if err == nil {
			return nil
		}
	}
	return nil
}

// Populated says whether a process is in the group or in one below it.
func (g *Group) Populated() (bool, error) {
	if err := g.check(); err != nil {
		return false, err
	}
	data, err := os.ReadFile(g.dir + "/cgroup.events")
	if err != nil {
		if gone(err) {
			return false, nil
		}
		return false, fmt.Errorf("cannot read state of cgroup: %w", err)
	}
	return populated(string(data)), nil
}

func populated(events string) bool {
	for line := range strings.Lines(events) {
		if v, ok := strings.CutPrefix(line, "populated "); ok {
			return strings.TrimSpace(v) != "0"
		}
	}
	return false
}

// WaitEmpty returns once no process is left in the group and below, or with the cause of ctx's end. A group that
// does not exist is empty.
func (g *Group) WaitEmpty(ctx context.Context) error {
	if err := g.check(); err != nil {
		return err
	}
	fd, err := unix.Open(g.dir+"/cgroup.events", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		if gone(err) {
			return nil
		}
		return fmt.Errorf("cannot watch cgroup: %w", err)
	}
	defer unix.Close(fd)
	if empty, err := readEmpty(fd); empty || err != nil {
		return err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return fmt.Errorf("cannot watch cgroup: %w", err)
	}
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	})
	defer func() {
		if !stop() {
			<-woken
		}
		_ = unix.Close(wake)
	}()
	return poll(ctx, fd, wake)
}

// poll waits for the kernel's notice. The kernel sends at most one per 10 ms and group (CGROUP_FILE_NOTIFY_MIN_INTV
// in kernel/cgroup/cgroup.c) and delays the second, which for a short-lived group is the interesting one: so the
// first waits are short.
func poll(ctx context.Context, fd, wake int) error {
	timeout := 1
	for ctx.Err() == nil {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}, {Fd: int32(wake), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, timeout); err != nil && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("cannot watch cgroup: %w", err)
		}
		if empty, err := readEmpty(fd); empty || err != nil {
			return err
		}
		if timeout > 0 {
			if timeout *= 2; timeout > 16 {
				timeout = -1
			}
		}
	}
	return fmt.Errorf("cgroup still has processes: %w", context.Cause(ctx))
}

func readEmpty(fd int) (bool, error) {
	buf := make([]byte, 256)
	n, err := unix.Pread(fd, buf, 0)
	if err != nil {
		if gone(err) {
			return true, nil
		}
		return false, fmt.Errorf("cannot read state of cgroup: %w", err)
	}
	return !populated(string(buf[:n])), nil
}

// Remove removes the group and the groups below it; one that is gone already is a success. A group that still has
// processes after half a second is an error.
func (g *Group) Remove() error {
	if err := g.check(); err != nil {
		return err
	}
	if err := unix.Rmdir(g.dir); err == nil || gone(err) {
		return nil // the usual case: no children, no processes
	}
	ctx, cancel := context.WithTimeout(context.Background(), removeLimit)
	defer cancel()
	return g.remove(ctx)
}

func (g *Group) remove(ctx context.Context) error {
	for {
		children, err := g.Children()
		if err != nil {
			return err
		}
		for _, name := range children {
			if err := g.Child(name).remove(ctx); err != nil {
				return err
			}
		}
		err = unix.Rmdir(g.dir)
		if err == nil || gone(err) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || ctx.Err() != nil {
			return fmt.Errorf("cannot remove cgroup %q: %w", g.dir, err)
		}
		if wait := g.WaitEmpty(ctx); wait != nil {
			return fmt.Errorf("cannot remove cgroup %q: %w", g.dir, wait)
		}
	}
}
