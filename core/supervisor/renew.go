// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/console"
	"firmwared/core/fault"
	"firmwared/core/sandbox"
)

// A detached supervisor that has started its instance executes itself anew: what
// it needed for the start, a third of its memory, is never given back otherwise.
// The process stays, and with it its child, its lock and its place.

// handover is what the new program is told.
type handover struct {
	Dir      string           `json:"dir"`
	Log      string           `json:"log"`
	LogMax   int64            `json:"log_max"`
	Terminal bool             `json:"terminal"`
	Payload  bool             `json:"payload"`
	After    *Command         `json:"after"`
	Status   Status           `json:"status"`
	Process  sandbox.Handover `json:"process"`
	Lock     int              `json:"lock"`
	Hold     int              `json:"hold"`
	Listener int              `json:"listener"`
	Viewer   int              `json:"viewer"`
}

// renew returns when it cannot be done: somebody is being served, or is told to
// end. The instance is as before then. It is for the thread that called
// sandbox.StartHere.
func (i *instance) renew(o *launchOrder, terminate chan os.Signal) {
	_ = i.listener.SetDeadline(time.Unix(1, 0))
	<-i.served
	defer func() {
		_ = i.listener.SetDeadline(time.Time{})
		i.served = make(chan struct{})
		go i.serve()
	}()
	h := handover{
		Dir: i.spec.Dir, Log: i.spec.Log, LogMax: i.spec.LogMax, Terminal: i.spec.Sandbox.Terminal,
		Payload: i.payload != nil, After: i.spec.After, Status: i.currentStatus(), Process: i.process.HandOver(),
		Lock: lockFD, Hold: o.Hold, Viewer: o.Viewer,
	}
	raw, err := i.listener.SyscallConn()
	if err != nil || i.clients.Load() > 0 {
		return
	}
	_ = raw.Control(func(fd uintptr) { h.Listener = int(fd) })
	// A SIGTERM waits, blocked, for the new program; this one forgets none. On the
	// way only the other threads would take it, and it would end the process.
	mask := unix.Sigset_t{}
	mask.Val[0] = 1 << (unix.SIGTERM - 1)
	_ = unix.PthreadSigmask(unix.SIG_BLOCK, &mask, nil)
	defer func() { _ = unix.PthreadSigmask(unix.SIG_UNBLOCK, &mask, nil) }()
	signal.Reset(unix.SIGTERM)
	defer signal.Notify(terminate, unix.SIGTERM)
	if len(terminate) == 0 {
		h.exec()
	}
}

func (h *handover) exec() {
	memory, err := unix.MemfdCreate("handover", 0)
	if err != nil {
		return
	}
	defer unix.Close(memory)
	data, err := json.Marshal(h)
	if err != nil {
		return
	}
	if _, err := unix.Pwrite(memory, data, 0); err != nil {
		return
	}
	keep := append(h.Process.Descriptors(), h.Lock, h.Hold, h.Listener, h.Viewer)
	if h.After != nil {
		keep = append(keep, h.After.FD)
	}
	inherit(keep, true)
	defer inherit(keep, false)
	fault.Point("supervise.renewed")
	_ = unix.Exec("/proc/self/exe", append(os.Args[:3:3], strconv.Itoa(memory)), os.Environ())
}

// inherit sets whether descriptors survive an execve(2); 0 is none.
func inherit(fds []int, on bool) {
	flag := unix.FD_CLOEXEC
	if on {
		flag = 0
	}
	for _, fd := range fds {
		if fd > 0 {
			_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETFD, flag)
		}
	}
}

// resume is renew's other side. An error ends the process, and its child with it.
func resume(number string) (*instance, error) {
	fd, err := strconv.Atoi(number)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return nil, err
	}
	data := make([]byte, st.Size)
	n, err := unix.Pread(fd, data, 0)
	unix.Close(fd)
	if err != nil {
		return nil, err
	}
	var h handover
	if err := json.Unmarshal(data[:n], &h); err != nil {
		return nil, err
	}
	spec := Spec{Dir: h.Dir, Log: h.Log, LogMax: h.LogMax, After: h.After, Cgroup: h.Status.Cgroup}
	i := newInstance(spec, os.NewFile(uintptr(h.Lock), "lock"))
	i.spec.Sandbox.Terminal, i.status = h.Terminal, h.Status
	if i.dir, err = openDir(h.Dir); err != nil {
		return nil, err
	}
	if i.log, err = console.OpenLog(h.Log, h.LogMax); err != nil {
		return nil, err
	}
	i.fan = console.NewFanout(i.log)
	if i.listener, err = inheritedListener(h.Listener); err != nil {
		return nil, err
	}
	if i.process, err = sandbox.TakeOver(h.Process); err != nil {
		return nil, err
	}
	if h.Payload {
		i.payload = cgroup.Open(payloadOf(h.Status.Cgroup)...)
	}
	var first *net.UnixConn
	if h.Viewer > 0 {
		if first, err = inherited(h.Viewer, "viewer"); err != nil {
			return nil, err
		}
	}
	go i.serve()
	i.attend(nil, first)
	return i, nil
}

func inheritedListener(fd int) (*net.UnixListener, error) {
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	listener, err := net.FileListener(file)
	if err != nil {
		return nil, fmt.Errorf("cannot use descriptor %d: %w", fd, err)
	}
	unixListener, ok := listener.(*net.UnixListener)
	if !ok {
		listener.Close()
		return nil, errors.New("cannot listen: not a unix socket")
	}
	unixListener.SetUnlinkOnClose(false)
	return unixListener, nil
}
