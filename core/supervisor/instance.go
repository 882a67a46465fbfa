// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/console"
	"firmwared/core/fault"
	"firmwared/core/sandbox"
)

// emptyLimit bounds the wait for processes of the cgroup that are not in pid 1's
// namespace, and so did not die with it.
const emptyLimit = 5 * time.Second

// instance is a started instance as its supervisor holds it.
type instance struct {
	spec     Spec
	dir      *os.File
	lock     *os.File
	log      *console.Log
	fan      *console.Fanout
	listener *net.UnixListener
	payload  *cgroup.Group
	process  *sandbox.Process
	output   *copies

	// served is closed when serve has returned; clients were answered, or wait for that.
	served  chan struct{}
	clients atomic.Int64

	// started is closed when process is set or the start has failed; finished
	// when the lock is free and status holds the exit.
	started, finished chan struct{}
	viewers           sync.WaitGroup
	ordered           atomic.Bool // the end, by Kill, whose caller sees to the rest
	killed            atomic.Bool // somebody here sent SIGKILL

	mu     sync.Mutex
	status Status
}

func newInstance(spec Spec, lock *os.File) *instance {
	return &instance{
		spec: spec, lock: lock, served: make(chan struct{}), started: make(chan struct{}), finished: make(chan struct{}),
	}
}

// begin starts pid 1 with start. It owns lock from here on; attend must follow.
func begin(ctx context.Context, spec Spec, lock *os.File, start func(context.Context, sandbox.Spec) (*sandbox.Process, error)) (_ *instance, err error) {
	i := newInstance(spec, lock)
	defer func() {
		if err != nil {
			i.abandon()
		}
	}()
	if err := i.open(); err != nil {
		return nil, err
	}
	fault.Point("supervise.opened")
	if err := i.makeCgroup(); err != nil {
		return nil, err
	}
	fault.Point("supervise.grouped")
	go i.serve()
	i.process, err = start(ctx, i.spec.Sandbox)
	if err != nil {
		return nil, err
	}
	fault.Point("supervise.executed")
	err = i.update(func(s *Status) {
		s.State, s.PID, s.StartedAt = StateStarted, i.process.Pid, time.Now()
		// It may be dead by now and still be a zombie of ours.
		s.PIDStart, _ = startTime(i.process.Pid)
	})
	if err != nil {
		return nil, err
	}
	status := i.currentStatus()
	status.tellStarted()
	fault.Point("supervise.started")
	return i, nil
}

// attend looks after a pid 1 from here on. first, if any, is a viewer that misses
// nothing.
func (i *instance) attend(streams *Streams, first *net.UnixConn) {
	if first != nil {
		i.view(first, nil)
	}
	i.output = i.startCopies(streams)
	i.process.Watch()
	close(i.started)
}

func (i *instance) open() (err error) {
	if i.dir, err = openDir(i.spec.Dir); err != nil {
		return err
	}
	boot, err := bootID()
	if err != nil {
		return err
	}
	start, err := startTime(os.Getpid())
	if err != nil {
		return fmt.Errorf("cannot read own start time: %w", err)
	}
	err = i.update(func(s *Status) {
		*s = Status{
			BootID: boot, State: StateStarting, SupervisorPID: os.Getpid(), SupervisorStart: start,
			Terminal: i.spec.Sandbox.Terminal, Cgroup: i.spec.Cgroup, NoDeviceFilter: i.spec.NoDeviceFilter,
			Events: i.spec.Events, Subject: i.spec.Subject,
		}
	})
	if err != nil {
		return err
	}
	if i.log, err = console.OpenLog(i.spec.Log, i.spec.LogMax); err != nil {
		return err
	}
	i.fan = console.NewFanout(i.log)
	i.listener, err = listen(i.dir)
	return err
}

// makeCgroup makes the groups that pid 1 is born in, with their limits set.
func (i *instance) makeCgroup() error {
	i.spec.Sandbox.Cgroup, i.spec.Sandbox.LegacyCgroup = nil, nil
	if len(i.spec.Cgroup) == 0 {
		return nil
	}
	if err := i.makePayload(); err != nil {
		return err
	}
	i.spec.Sandbox.Cell = CellOf(i.spec.Cgroup)
	if i.spec.Limits == (cgroup.Limits{}) {
		return nil
	}
	i.spec.Sandbox.LegacyCgroup = i.spec.Cgroup
	return cgroup.Limit(i.spec.Limits, i.spec.Cgroup...)
}

func (i *instance) makePayload() error {
	elem := payloadOf(i.spec.Cgroup)
	group, err := cgroup.Make(elem...)
	if errors.Is(err, cgroup.ErrNone) {
		return nil
	}
	if err != nil {
		return err
	}
	i.payload, i.spec.Sandbox.Cgroup = group, elem
	cgroup.Account(i.spec.Cgroup...)
	if ids := i.spec.Sandbox.IDs; ids != nil {
		return delegate(group, int(ids.First))
	}
	return nil
}

// update changes the status and its file together.
func (i *instance) update(change func(*Status)) error {
	i.mu.Lock()
	defer i.mu.Unlock()
	change(&i.status)
	return i.status.save(i.dir)
}

func (i *instance) currentStatus() Status {
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.status
}

// abandon undoes begin.
func (i *instance) abandon() {
	if i.process != nil {
		_ = unix.PidfdSendSignal(i.process.PidFD, unix.SIGKILL, nil, 0)
		i.process.Watch()
		i.process.Wait()
		i.process.Close()
		i.process = nil
	}
	i.emptyCgroup()
	if i.dir != nil {
		_ = unix.Unlinkat(int(i.dir.Fd()), statusFile, 0)
	}
	i.release()
	close(i.started)
	close(i.finished)
}

// finish waits for pid 1's death and leaves nothing but the status file, the log
// and the lock file. The exit is recorded and told before the lock is free, so
// that who sees it free sees the exit, and no later run is told of before.
func (i *instance) finish() (Exit, error) {
	exit := i.readExit()
	fault.Point("supervise.ended")
	stateErr := i.update(func(s *Status) { s.State = StateStopping })
	i.process.EndConsole()
	i.output.drain()
	cgroupErr := i.emptyCgroup()
	fault.Point("supervise.emptied")
	exitErr := i.update(func(s *Status) {
		s.State, s.Exit, s.LogLost = StateDead, &exit, i.log.Lost()
	})
	status := i.currentStatus()
	status.tellDead()
	fault.Point("supervise.recorded")
	i.release()
	i.process.Close()
	close(i.finished)
	return exit, errors.Join(stateErr, cgroupErr, exitErr)
}

// readExit waits for pid 1's death. The kernel's count goes with the group, so it
// is read before that.
func (i *instance) readExit() Exit {
	exit := Exit{Exit: i.process.Wait(), At: time.Now()}
	if len(i.spec.Cgroup) == 0 {
		return exit
	}
	usage := cgroup.ReadUsage(i.spec.Cgroup...)
	if exit.OOMKilled = usage.OOMKills; exit.OOMKilled == 0 {
		return exit
	}
	exit.MemoryMax = usage.Limits.Memory
	if exit.Reason == sandbox.ReasonSignal && exit.Signal == int(unix.SIGKILL) && !i.killed.Load() {
		exit.Reason = ReasonOutOfMemory
	}
	return exit
}

// emptyCgroup ends what is left of the instance: a process that entered its
// cgroup without being in its pid namespace.
func (i *instance) emptyCgroup() error {
	ctx, cancel := context.WithTimeout(context.Background(), emptyLimit)
	defer cancel()
	return removeGroup(ctx, i.spec.Cgroup)
}

// release ends everything that others see of the instance.
func (i *instance) release() {
	if i.listener != nil {
		_ = unix.Unlinkat(int(i.dir.Fd()), socketFile, 0)
		i.listener.Close()
	}
	if i.fan != nil {
		i.fan.Close()
	}
	if i.log != nil {
		i.log.Close()
	}
	i.lock.Close()
	if i.dir != nil {
		i.dir.Close()
	}
}
