// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// The dialogue between Start and the init stage, over a socketpair. Start sends
// a stageOrder as a line of JSON. The stage sends stageMessages as lines; "console"
// carries the pty master as a descriptor. After "ready" it waits for one byte
// from Start; the end of the stream without it means that the supervisor is
// gone. The end of the stage's stream after that byte means that the program
// runs, because the stage's end is close-on-exec. A stage that enters an instance
// says in "pid", before "ready", which process is to become the program, then
// "running", and at last "exit", the program's wait status.

// controlFD is where the init stage finds its end.
const controlFD = 3

type stageOrder struct {
	Build string `json:"build"`
	Spec  Spec   `json:"spec"`
	Enter *entry `json:"enter,omitempty"`
}

type stageMessage struct {
	Console bool     `json:"console,omitempty"`
	PID     int      `json:"pid,omitempty"`
	Running bool     `json:"running,omitempty"`
	Exit    *uint32  `json:"exit,omitempty"`
	Ready   bool     `json:"ready,omitempty"`
	Failure *Failure `json:"failure,omitempty"`
}

// controlPair returns Start's end and the stage's.
func controlPair() (*net.UnixConn, *os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot make control socket: %w", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "control")
	theirs := os.NewFile(uintptr(fds[1]), "control")
	defer ours.Close()
	conn, err := net.FileConn(ours)
	if err != nil {
		theirs.Close()
		return nil, nil, fmt.Errorf("cannot use control socket: %w", err)
	}
	return conn.(*net.UnixConn), theirs, nil
}

func sendOrder(conn *net.UnixConn, order stageOrder) error {
	line, err := json.Marshal(order)
	if err != nil {
		return fmt.Errorf("cannot encode spec: %w", err)
	}
	if _, err := conn.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("cannot reach the init stage: %w", err)
	}
	return nil
}

// stageReader reads the stage's messages and keeps the descriptors they carry.
type stageReader struct {
	conn *net.UnixConn
	data []byte
	fds  []int
}

func (r *stageReader) next() (*stageMessage, error) {
	for {
		if i := bytes.IndexByte(r.data, '\n'); i >= 0 {
			line := r.data[:i]
			r.data = r.data[i+1:]
			var m stageMessage
			if err := json.Unmarshal(line, &m); err != nil {
				return nil, fmt.Errorf("cannot understand the init stage: %w", err)
			}
			return &m, nil
		}
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

func (r *stageReader) fill() error {
	buf, oob := make([]byte, 4096), make([]byte, 64)
	n, oobn, _, _, err := r.conn.ReadMsgUnix(buf, oob)
	if oobn > 0 {
		r.keep(oob[:oobn])
	}
	if err != nil {
		return err
	}
	if n == 0 {
		return io.EOF
	}
	r.data = append(r.data, buf[:n]...)
	return nil
}

func (r *stageReader) keep(oob []byte) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return
	}
	for i := range messages {
		if fds, err := unix.ParseUnixRights(&messages[i]); err == nil {
			r.fds = append(r.fds, fds...)
		}
	}
}

func (r *stageReader) takeFD() (int, error) {
	if len(r.fds) == 0 {
		return -1, errors.New("cannot get console: the init stage sent none")
	}
	fd := r.fds[0]
	r.fds = r.fds[1:]
	return fd, nil
}

func (r *stageReader) close() {
	r.conn.Close()
	for _, fd := range r.fds {
		unix.Close(fd)
	}
}

// tellStart is the stage's side; fd is a descriptor to pass, or -1.
func tellStart(m stageMessage, fd int) error {
	line, err := json.Marshal(m)
	if err != nil {
		return err
	}
	var rights []byte
	if fd >= 0 {
		rights = unix.UnixRights(fd)
	}
	return unix.Sendmsg(controlFD, append(line, '\n'), rights, nil, unix.MSG_NOSIGNAL)
}

// controlReader is the stage's end as a reader. It is no os.File, whose finalizer
// would close the descriptor.
type controlReader struct{}

func (controlReader) Read(p []byte) (int, error) {
	for {
		n, err := unix.Read(controlFD, p)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}
