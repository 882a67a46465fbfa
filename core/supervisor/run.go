// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox"
)

// Handle is an instance that this process supervises.
type Handle struct {
	instance *instance
	done     chan struct{}
	exit     Exit
	err      error
}

// Begin starts the instance under the calling process, with pipes between pid 1
// and streams; a Spec with a terminal is refused. The instance dies with the
// process. ctx bounds the start only.
func Begin(ctx context.Context, spec Spec, streams Streams) (*Handle, error) {
	if spec.Sandbox.Terminal {
		return nil, errors.New("cannot run with plain pipes: a terminal is asked for")
	}
	if err := spec.validate(); err != nil {
		return nil, err
	}
	lock, err := claim(ctx, spec.Dir)
	if err != nil {
		return nil, err
	}
	if err := spec.filterDevices(ctx); err != nil {
		defer unlock(lock)
		return nil, errors.Join(err, sweep(spec.Dir, spec.Cgroup, 0))
	}
	if spec.RaiseNet != nil {
		spec.Sandbox.Made = func(pid int) ([]string, error) { return raiseNet(spec.RaiseNet, pid, os.Getpid()) }
	}
	// The Go runtime kills the process at a SIGPIPE from stdout or stderr unless
	// somebody is notified (os/signal); here it must live to clean up, and pass
	// the news on to pid 1.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGPIPE)
	i, err := begin(ctx, spec, lock, sandbox.Start)
	if err != nil {
		signal.Stop(broken)
		return nil, err
	}
	i.attend(&streams, nil)
	h := &Handle{instance: i, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		h.exit, h.err = i.finish()
		signal.Stop(broken)
	}()
	return h, nil
}

// Run is Begin and Wait. When ctx ends, pid 1 is killed.
func Run(ctx context.Context, spec Spec, streams Streams) (Exit, error) {
	h, err := Begin(ctx, spec, streams)
	if err != nil {
		return Exit{}, err
	}
	stop := context.AfterFunc(ctx, func() { h.Kill(unix.SIGKILL, 0) })
	defer stop()
	exit, err := h.Wait()
	if err == nil && ctx.Err() != nil {
		err = fmt.Errorf("cannot wait for instance: %w", context.Cause(ctx))
	}
	return exit, err
}

// Status is the present one.
func (h *Handle) Status() Status { return h.instance.currentStatus() }

// Signal sends sig to pid 1, as sandbox.Process.Signal does; a dead one is no
// error.
func (h *Handle) Signal(sig syscall.Signal) error { return h.instance.signal(sig) }

// Kill ends the instance as the function Kill does, and returns when the order
// is given: Wait tells the end. SIGKILL needs no timeout.
func (h *Handle) Kill(sig syscall.Signal, timeout time.Duration) {
	h.instance.kill(sig, timeout)
}

// Wait returns when pid 1 is dead, all that it wrote is where it belongs, and
// the instance's remains are removed. An error says what could not be.
func (h *Handle) Wait() (Exit, error) {
	<-h.done
	h.instance.flush()
	return h.exit, h.err
}
