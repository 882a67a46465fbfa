// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"net"
	"time"

	"firmwared/core/console"
)

const (
	// flushPause is how long a viewer may take nothing once the instance is
	// dead; flushLimit bounds all viewers together.
	flushPause = 2 * time.Second
	flushLimit = 10 * time.Second
)

// view serves a viewer on conn until either side ends it.
func (i *instance) view(conn *net.UnixConn, r *bufio.Reader) {
	if r == nil {
		r = bufio.NewReaderSize(conn, 4096)
	}
	viewer := i.fan.Attach()
	i.viewers.Add(1)
	go func() {
		defer i.viewers.Done()
		defer conn.Close()
		defer viewer.Close()
		i.feed(conn, viewer)
	}()
	go func() {
		i.takeInput(conn, r)
		viewer.Close()
	}()
}

// feed writes what the viewer gets. Only this goroutine waits for a slow one.
func (i *instance) feed(conn *net.UnixConn, viewer *console.Viewer) {
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		select {
		case <-i.finished:
			_ = conn.SetWriteDeadline(time.Now().Add(flushPause))
		case <-stop:
		}
	}()
	data := make([]byte, 16<<10)
	frame := make([]byte, 0, len(data)+frameHeader)
	for {
		n, skipped, err := viewer.Read(data)
		if err != nil {
			if errors.Is(err, io.EOF) {
				i.sayExit(conn)
			}
			return
		}
		kind, payload := byte(frameData), data[:n]
		if skipped > 0 {
			kind, payload = frameSkipped, binary.BigEndian.AppendUint64(nil, uint64(skipped))
		}
		frame = appendFrame(frame[:0], kind, payload)
		if i.over() {
			_ = conn.SetWriteDeadline(time.Now().Add(flushPause))
		}
		if _, err := conn.Write(frame); err != nil {
			return
		}
	}
}

func (i *instance) over() bool {
	select {
	case <-i.finished:
		return true
	default:
		return false
	}
}

// sayExit is for the end of the console, which comes just before finished.
func (i *instance) sayExit(conn *net.UnixConn) {
	<-i.finished
	exit := i.currentStatus().Exit
	if exit == nil {
		return
	}
	if payload, err := json.Marshal(exit); err == nil {
		_ = conn.SetWriteDeadline(time.Now().Add(flushPause))
		_, _ = conn.Write(appendFrame(nil, frameExit, payload))
	}
}

// takeInput passes on what a viewer types. Where stdin is a pipe it belongs to
// the caller of Begin, and viewers only watch.
func (i *instance) takeInput(conn *net.UnixConn, r *bufio.Reader) {
	var buf []byte
	for {
		kind, payload, err := readFrame(r, &buf)
		if err != nil {
			return
		}
		<-i.started
		if i.process == nil {
			return
		}
		switch kind {
		case frameData:
			if i.spec.Sandbox.Terminal {
				if _, err := i.process.Console.Write(payload); err != nil {
					return
				}
			}
		case frameSize:
			if rows, cols, ok := parseSize(payload); ok {
				_ = i.resize(rows, cols)
			}
		}
	}
}

// flush gives viewers a bounded time to take what they were shown.
func (i *instance) flush() {
	done := make(chan struct{})
	go func() {
		i.viewers.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(flushLimit):
	}
}
