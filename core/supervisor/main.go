// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/sandbox"
)

// shutdownLimit is what pid 1 gets when the supervisor is told to end, as at the
// machine's shutdown.
const shutdownLimit = 5 * time.Second

// idleGC has the heap collected from 4 MB * 10 % on: a supervisor idles for days
// beside hundreds of its kind, and a collection costs it 150 KiB for ever.
const idleGC = 25

// Main is a detached supervisor. It exits when its instance has ended, 0 if
// that could be recorded and cleaned up.
func Main() {
	signal.Ignore(unix.SIGHUP, unix.SIGINT, unix.SIGQUIT)
	terminate := make(chan os.Signal, 1)
	signal.Notify(terminate, unix.SIGTERM)
	var i *instance
	var err error
	if len(os.Args) > 3 { // see renew
		debug.SetGCPercent(idleGC)
		i, err = resume(os.Args[3])
	} else {
		i, err = obey(terminate)
	}
	if err != nil {
		os.Exit(1)
	}
	go func() {
		<-terminate
		i.kill(unix.SIGTERM, shutdownLimit)
	}()
	_, err = i.finish()
	i.flush()
	if i.spec.After != nil && !i.ordered.Load() {
		i.spec.After.become()
	}
	if err != nil {
		os.Exit(1)
	}
	os.Exit(0)
}

// become replaces the process, and returns only if that fails.
func (c *Command) become() {
	// A signal that is ignored stays so over an execve(2), one that is caught
	// does not. Blocked ones stay so, too (see renew).
	runtime.LockOSThread()
	signal.Notify(make(chan os.Signal, 1), unix.SIGHUP, unix.SIGINT, unix.SIGQUIT)
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &unix.Sigset_t{}, nil)
	program := "/proc/self/exe"
	if c.FD > 0 {
		program = fmt.Sprintf("/proc/self/fd/%d", c.FD)
	}
	_ = unix.Exec(program, c.Args, c.Env)
}

// obey starts what Launch asks for, answers it, and then renews the program.
func obey(terminate chan os.Signal) (*instance, error) {
	for fd := launchFD; fd <= mostFD; fd++ {
		unix.CloseOnExec(fd)
	}
	cgroup.LeaveTracking()
	runtime.LockOSThread() // pid 1's parent
	conn, err := inherited(launchFD, "launch")
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	var o launchOrder
	orders := json.NewDecoder(conn)
	if err := orders.Decode(&o); err != nil {
		return nil, err
	}
	if err := sandbox.CheckBuild(o.Build); err != nil {
		_ = writeLine(conn, launchAnswer{Failure: sandbox.PackError(err)})
		return nil, err
	}
	if o.Await {
		o.Spec.Sandbox.Made = func(pid int) ([]string, error) {
			if err := writeLine(conn, launchAnswer{Made: pid}); err != nil {
				return nil, errLauncher
			}
			var g launchGo
			if orders.Decode(&g) != nil {
				return nil, errLauncher
			}
			return g.Env, nil
		}
	}
	lock := os.NewFile(lockFD, "lock")
	i, err := begin(context.Background(), o.Spec, lock, sandbox.StartHere)
	if err != nil {
		_ = writeLine(conn, launchAnswer{Failure: sandbox.PackError(err)})
		return nil, err
	}
	// A launcher that is gone changes nothing: the instance runs.
	_ = writeLine(conn, launchAnswer{Status: i.currentStatus()})
	i.renew(&o, terminate)
	var first *net.UnixConn
	if o.Viewer > 0 {
		if first, err = inherited(o.Viewer, "viewer"); err != nil {
			i.abandon()
			return nil, err
		}
	}
	i.attend(nil, first)
	return i, nil
}

func inherited(fd int, name string) (*net.UnixConn, error) {
	file := os.NewFile(uintptr(fd), name)
	defer file.Close()
	conn, err := net.FileConn(file)
	if err != nil {
		return nil, fmt.Errorf("cannot use descriptor %d: %w", fd, err)
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("cannot use descriptor %d: not a unix socket", fd)
	}
	return unixConn, nil
}
