// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/fault"
)

// requestLimit bounds the wait for a client that connected and says nothing.
const requestLimit = 10 * time.Second

var errNeverRan = errors.New("it failed to start")

// serve answers clients until the listener is closed.
func (i *instance) serve() {
	defer close(i.served)
	for {
		conn, err := i.listener.AcceptUnix()
		switch {
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil:
			// Out of descriptors: they come back as clients leave.
			time.Sleep(10 * time.Millisecond)
		default:
			i.clients.Add(1)
			go i.answer(conn)
		}
	}
}

func (i *instance) answer(conn *net.UnixConn) {
	_ = conn.SetReadDeadline(time.Now().Add(requestLimit))
	r := bufio.NewReaderSize(conn, 4096)
	var q request
	if err := readLine(r, &q); err != nil {
		_ = writeLine(conn, reply{Error: err.Error()})
		conn.Close()
		return
	}
	_ = conn.SetReadDeadline(time.Time{})
	if q.Op == opAttach {
		i.answerAttach(conn, r, q)
		return
	}
	defer conn.Close()
	switch q.Op {
	case opInfo:
		i.answerInfo(conn)
	case opSignal:
		_ = writeLine(conn, replyTo(i.signal(syscall.Signal(q.Signal))))
	case opResize:
		_ = writeLine(conn, replyTo(i.resize(q.Rows, q.Cols)))
	case opWait:
		i.answerExit(conn)
	case opKill:
		i.ordered.Store(true)
		go i.kill(syscall.Signal(q.Signal), time.Duration(q.TimeoutMS)*time.Millisecond)
		i.answerExit(conn)
	default:
		_ = writeLine(conn, reply{Error: "unknown request " + q.Op})
	}
}

func replyTo(err error) reply {
	if err != nil {
		return reply{Error: err.Error()}
	}
	return reply{}
}

func (i *instance) answerInfo(conn *net.UnixConn) {
	status := i.currentStatus()
	status.LogLost = i.log.Lost()
	_ = writeLine(conn, reply{Status: &status})
}

func (i *instance) answerExit(conn *net.UnixConn) {
	if writeLine(conn, reply{}) != nil {
		return
	}
	<-i.finished
	if exit := i.currentStatus().Exit; exit != nil {
		_ = writeLine(conn, reply{Exit: exit})
		return
	}
	_ = writeLine(conn, replyTo(errNeverRan))
}

func (i *instance) answerAttach(conn *net.UnixConn, r *bufio.Reader, q request) {
	<-i.started
	status := i.currentStatus()
	if i.process == nil || writeLine(conn, reply{Status: &status}) != nil {
		conn.Close()
		return
	}
	_ = i.resize(q.Rows, q.Cols)
	i.view(conn, r)
}

// signal waits for the start: a signal sent right after it is not lost.
func (i *instance) signal(sig syscall.Signal) error {
	<-i.started
	if i.process == nil {
		return errNeverRan
	}
	if sig == unix.SIGKILL {
		i.killed.Store(true)
	}
	err := i.process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

func (i *instance) resize(rows, cols uint16) error {
	<-i.started
	if i.process == nil {
		return errNeverRan
	}
	return i.process.Resize(rows, cols)
}

// kill ends the instance; with a signal other than SIGKILL pid 1 may end by
// itself for as long as timeout.
func (i *instance) kill(sig syscall.Signal, timeout time.Duration) {
	<-i.started
	if i.process == nil {
		return
	}
	i.noteStopping()
	fault.Point("supervise.stopping")
	if sig != 0 && sig != unix.SIGKILL && i.signal(sig) == nil {
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		select {
		case <-i.process.Done():
			return
		case <-timer.C:
		}
	}
	// pid 1's death ends its namespace; the group ends what is not in it.
	_ = i.signal(unix.SIGKILL)
	if i.payload != nil {
		_ = cgroup.Open(i.spec.Cgroup...).Kill()
	}
}

// noteStopping tells readers; a status that cannot be written changes nothing
// else.
func (i *instance) noteStopping() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.status.State == StateStarted {
		i.status.State = StateStopping
		_ = i.status.save(i.dir)
	}
}
