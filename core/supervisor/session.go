// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// AttachOptions say what a session connects the console to.
type AttachOptions struct {
	// In is read for what to type; a terminal is put into raw mode meanwhile,
	// and its size becomes the console's. nil only watches. Its end is not
	// passed on, because a console has none.
	In *os.File
	// Out gets the console's output.
	Out io.Writer
	// DetachKeys end the session (console.ParseKeys); none when empty.
	DetachKeys []byte
	// Started, if set, is called by Attach once it is connected, before output.
	Started func()
	// Skipped, if set, is told how many bytes were left out because Out was too
	// slow.
	Skipped func(bytes uint64)
}

// AttachResult tells why a session ended.
type AttachResult struct {
	// Detached: the detach keys were typed, the instance goes on.
	Detached bool
	// Exit is how the instance ended, if it did.
	Exit *Exit
}

// Session is one viewer's connection to a console.
type Session struct {
	conn *net.UnixConn
	r    *bufio.Reader

	sending  sync.Mutex
	detached atomic.Bool
}

func newSession(conn *net.UnixConn, r *bufio.Reader) *Session {
	return &Session{conn: conn, r: r}
}

// Attach shows the console from the last screenful on, until the detach keys,
// the instance's end or ctx's.
func Attach(ctx context.Context, dir string, options AttachOptions) (AttachResult, error) {
	first, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	conn, err := dial(first, dir)
	if err != nil {
		return AttachResult{}, err
	}
	r := bufio.NewReader(conn)
	answer, err := talk(first, conn, r, &request{Op: opAttach})
	if err == nil && options.In != nil && answer.Status != nil && !answer.Status.Terminal {
		err = ErrNoConsole
	}
	if err != nil {
		conn.Close()
		return AttachResult{}, err
	}
	if options.Started != nil {
		options.Started()
	}
	return newSession(conn, r).Run(ctx, options)
}

// Close leaves the instance running.
func (s *Session) Close() error { return s.conn.Close() }

// Run connects the session until it ends, and closes it. The terminal is given
// back as it was.
func (s *Session) Run(ctx context.Context, options AttachOptions) (AttachResult, error) {
	defer s.conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = s.conn.SetDeadline(time.Now()) })
	defer stop()
	if options.In != nil {
		release, err := s.connectInput(options)
		if err != nil {
			return AttachResult{}, err
		}
		defer release()
	}
	result, err := s.show(options)
	switch {
	case s.detached.Load():
		return AttachResult{Detached: true}, nil
	case err != nil && ctx.Err() != nil:
		return result, fmt.Errorf("cannot stay attached: %w", context.Cause(ctx))
	}
	return result, err
}

// show copies output until the session's end.
func (s *Session) show(options AttachOptions) (AttachResult, error) {
	var buf []byte
	for {
		kind, payload, err := readFrame(s.r, &buf)
		if errors.Is(err, io.EOF) {
			err = errors.New("the supervisor is gone")
		}
		if err != nil {
			return AttachResult{}, fmt.Errorf("cannot stay attached: %w", err)
		}
		switch kind {
		case frameData:
			if options.Out == nil {
				continue
			}
			if _, err := options.Out.Write(payload); err != nil {
				return AttachResult{}, fmt.Errorf("cannot show console: %w", err)
			}
		case frameSkipped:
			if options.Skipped != nil && len(payload) == 8 {
				options.Skipped(binary.BigEndian.Uint64(payload))
			}
		case frameExit:
			exit := new(Exit)
			if err := json.Unmarshal(payload, exit); err != nil {
				return AttachResult{}, fmt.Errorf("cannot understand exit: %w", err)
			}
			return AttachResult{Exit: exit}, nil
		}
	}
}

// connectInput returns what undoes it.
func (s *Session) connectInput(options AttachOptions) (func(), error) {
	release, err := connectKeyboard(options.In, options.DetachKeys, keyboard{
		typed: func(keys []byte) error { return s.send(frameData, keys) },
		// Needs no error: a broken connection ends the session by itself.
		sized: func(rows, cols uint16) { _ = s.send(frameSize, sizePayload(rows, cols)) },
		detach: func() {
			s.detached.Store(true)
			_ = s.conn.SetReadDeadline(time.Now())
		},
	})
	if err != nil {
		return nil, err
	}
	return func() {
		// A console that takes no input may have left a write hanging.
		_ = s.conn.SetWriteDeadline(time.Now())
		release()
	}, nil
}

// send writes a frame whole: two goroutines do.
func (s *Session) send(kind byte, payload []byte) error {
	s.sending.Lock()
	defer s.sending.Unlock()
	_, err := s.conn.Write(appendFrame(nil, kind, payload))
	return err
}
