// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/sandbox"
)

const (
	// backgroundLimit is how long a command's streams are read on after its end
	// while a process that it left in the background holds them and is silent.
	backgroundLimit = 250 * time.Millisecond
	// impatience is how many signals of one kind tell that the user wants out.
	impatience = 3
	// endingLimit is how long a command that was killed waits to see whether the
	// instance was meant.
	endingLimit = time.Second
	// abandonLimit is how long the end of a killed command is waited for: one in
	// a frozen group dies later.
	abandonLimit = 2 * time.Second
)

// ExecOptions say what a command is connected to.
type ExecOptions struct {
	// In is copied to the command, or typed on its terminal: see AttachOptions.
	In       *os.File
	Out, Err io.Writer
	// DetachKeys end a command with a terminal, as if that were hung up.
	DetachKeys []byte
}

// ExecHandle is a command that runs in an instance beside its pid 1.
type ExecHandle struct {
	process *sandbox.Process
	status  Status
	output  *copies
	release func()

	mu      sync.Mutex
	counts  map[syscall.Signal]int
	killed  chan struct{}
	killing sync.Once
}

// CommandExit is how a command ended.
type CommandExit struct {
	sandbox.Exit
	// InstanceEnded: it was killed because pid 1 had ended.
	InstanceEnded bool
	// Abandoned: it was killed and has not ended yet.
	Abandoned bool
}

// Exec runs a command in the instance that is started in dir; it is no business
// of the supervisor's. Of spec.Cgroup and what makes an instance nothing is
// used. The command dies with the calling process, and with the instance. When
// ctx ends before the command runs, Exec returns. Wait must follow.
func Exec(ctx context.Context, dir string, spec sandbox.Spec, options ExecOptions) (*ExecHandle, error) {
	status, err := Read(dir)
	if err != nil {
		return nil, err
	}
	pid1, err := openProcess(status.PID, status.PIDStart)
	if errors.Is(err, os.ErrProcessDone) {
		err = ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	c := &ExecHandle{status: status, counts: map[syscall.Signal]int{}, killed: make(chan struct{}), release: func() {}}
	spec.Cgroup, spec.LegacyCgroup = payloadOf(status.Cgroup), status.Cgroup
	if len(status.Cgroup) > 0 {
		spec.Cell, spec.CellAs = CellOf(status.Cgroup), status.PID
	}
	c.process, err = sandbox.Enter(ctx, pid1, status.PID, spec)
	unix.Close(pid1)
	if err != nil {
		var exec *sandbox.ExecError
		if !errors.As(err, &exec) && ctx.Err() == nil && !c.alive() {
			return nil, ErrNotRunning
		}
		return nil, err
	}
	if err := c.connect(spec.Terminal, options); err != nil {
		c.kill()
		c.Wait()
		return nil, err
	}
	return c, nil
}

// payloadOf is the group of an instance's processes, none without cgroup2.
func payloadOf(elem []string) []string {
	if _, err := cgroup.Root(); err != nil || len(elem) == 0 {
		return nil
	}
	return append(slices.Clone(elem), payloadGroup)
}

func (c *ExecHandle) connect(terminal bool, options ExecOptions) (err error) {
	c.output = &copies{linger: backgroundLimit}
	if terminal {
		c.output.start(c.process.Console, io.Discard, &sharedWriter{w: options.Out}, false)
		c.release, err = connectKeyboard(options.In, options.DetachKeys, keyboard{
			typed: func(keys []byte) error {
				_, err := c.process.Console.Write(keys)
				return err
			},
			sized:  func(rows, cols uint16) { _ = c.process.Resize(rows, cols) },
			detach: c.kill,
		})
		return err
	}
	// Not waited for: it may hang in a read of the caller's.
	go copyInput(c.process.Stdin, options.In)
	c.output.start(c.process.Stdout, io.Discard, &sharedWriter{w: options.Out}, true)
	c.output.start(c.process.Stderr, io.Discard, &sharedWriter{w: options.Err}, true)
	return nil
}

// Signal passes sig on. A command that lives on after several of a kind that
// asks it to end is killed; a dead one is no error.
func (c *ExecHandle) Signal(sig syscall.Signal) error {
	switch sig {
	case unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT:
		c.mu.Lock()
		c.counts[sig]++
		out := c.counts[sig] >= impatience
		c.mu.Unlock()
		if out {
			c.kill()
			return nil
		}
	}
	if err := c.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	return nil
}

func (c *ExecHandle) kill() {
	_ = c.process.Signal(unix.SIGKILL)
	c.killing.Do(func() { close(c.killed) })
}

// Wait returns when the command has ended and all that it wrote is where it
// belongs. What it left in the background stays with the instance.
func (c *ExecHandle) Wait() CommandExit {
	exit := CommandExit{Exit: sandbox.Exit{Signal: int(unix.SIGKILL), Reason: sandbox.ReasonSignal}}
	if c.ended() {
		exit.Exit = c.process.Wait()
		exit.InstanceEnded = exit.Signal == int(unix.SIGKILL) && c.instanceEnded()
	} else {
		exit.Abandoned = true
	}
	c.process.EndConsole()
	if c.output != nil {
		c.output.drain()
	}
	if c.process.Console != nil {
		// Frees a key that nobody takes.
		_ = c.process.Console.SetWriteDeadline(time.Now())
	}
	c.release()
	c.process.Close()
	return exit
}

// ended is false for a command that was killed and does not die.
func (c *ExecHandle) ended() bool {
	select {
	case <-c.process.Done():
		return true
	case <-c.killed:
	}
	select {
	case <-c.process.Done():
		return true
	case <-time.After(abandonLimit):
		return false
	}
}

// instanceEnded: pid 1 dies after all others of its namespace have, but is
// marked as exiting before it kills them. A kill of the whole group may reach
// the command first; on a busy machine pid 1 then needs a moment.
func (c *ExecHandle) instanceEnded() bool {
	for end := time.Now().Add(endingLimit); ; time.Sleep(5 * time.Millisecond) {
		if !c.alive() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}

// alive looks once.
func (c *ExecHandle) alive() bool {
	now, err := startTime(c.status.PID)
	return err == nil && now == c.status.PIDStart && !pid1Exiting(c.status.PID)
}

// pid1Exiting reads the flags, the seventh field after the name (proc_pid_stat(5)).
func pid1Exiting(pid int) bool {
	const exiting = 0x4 // PF_EXITING
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 7 {
		return false
	}
	flags, err := strconv.ParseUint(string(fields[6]), 10, 64)
	return err == nil && flags&exiting != 0
}
