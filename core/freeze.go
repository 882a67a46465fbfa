// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/fault"
	"firmwared/core/registry"
	"firmwared/core/supervisor"
)

// freezeLimit is how long the processes of an instance may take to stop.
const freezeLimit = 5 * time.Second

// frozen is the run-time file that is there while an instance is frozen, and for
// what a killed command left frozen.
type frozen struct {
	Stopped []int `json:"stopped"` // processes that were stopped before, and stay so
}

func (m *Manager) frozenFile(id string) string {
	return filepath.Join(m.at.runtime(id), "frozen.json")
}

// whileFrozen runs do with all processes of an instance stopped, if it runs, and
// lets them go on whatever happens; should this process be killed, the next command
// does. The caller holds the instance exclusively and has a mark on it.
func (m *Manager) whileFrozen(ctx context.Context, inst *registry.Instance, do func() error) (err error) {
	st := m.status(inst.ID)
	if !st.Alive() {
		return do()
	}
	f := frozen{Stopped: []int{}}
	for _, pid := range processesOf(st) {
		if stopped(pid) {
			f.Stopped = append(f.Stopped, pid)
		}
	}
	if err := registry.WriteRuntime(m.frozenFile(inst.ID), f); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.thaw(inst)) }()
	limited, cancel := context.WithTimeout(ctx, freezeLimit)
	defer cancel()
	if err := freeze(limited, st); err != nil {
		return fmt.Errorf("cannot freeze instance %s: %w", inst.Name, err)
	}
	fault.Point("freeze.frozen")
	return do()
}

// freeze stops the processes of a run, by signals where the kernel has nothing
// better: the cgroup1 freezer would have them moved into a group of its own first.
func freeze(ctx context.Context, st supervisor.Status) error {
	err := cgroup.Open(st.Cgroup...).Freeze(ctx)
	if !errors.Is(err, cgroup.ErrNoFreezer) {
		return err
	}
	for ctx.Err() == nil { // a child may have been born between the listing and the signal
		running := slices.DeleteFunc(processesOf(st), stopped)
		if len(running) == 0 {
			return nil
		}
		for _, pid := range running {
			if err := signalOf(st, pid, unix.SIGSTOP); err != nil {
				return err
			}
		}
		time.Sleep(time.Millisecond)
	}
	return fmt.Errorf("a process in it does not stop: %w", context.Cause(ctx))
}

// thaw lets an instance go on that is, or may be, frozen. The caller holds it
// exclusively.
func (m *Manager) thaw(inst *registry.Instance) error {
	var f frozen
	if !registry.ReadRuntime(m.frozenFile(inst.ID), &f) {
		return nil
	}
	st := m.status(inst.ID)
	if err := release(st, f.Stopped); err != nil {
		return fmt.Errorf("instance %s is still frozen: %w", inst.Name, err)
	}
	return os.Remove(m.frozenFile(inst.ID))
}

// release ends freeze; except are processes that were stopped before.
func release(st supervisor.Status, except []int) error {
	err := cgroup.Open(st.Cgroup...).Thaw()
	if !errors.Is(err, cgroup.ErrNoFreezer) {
		return err
	}
	var errs []error
	for _, pid := range processesOf(st) {
		if stopped(pid) && !slices.Contains(except, pid) {
			errs = append(errs, signalOf(st, pid, unix.SIGCONT))
		}
	}
	return errors.Join(errs...)
}

// signalOf sends a signal to a process unless it has ended meanwhile, whoever has
// its number now.
func signalOf(st supervisor.Status, pid int, sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if !slices.Contains(processesOf(st), pid) {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot send signal %d to process %d: %w", int(sig), pid, err)
	}
	return nil
}

// stopped tells whether a process is stopped by a signal, or has ended (proc_pid_stat(5)).
func stopped(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, found := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	return err != nil || !found || len(rest) == 0 || bytes.IndexByte([]byte("TtZX"), rest[0]) >= 0
}
