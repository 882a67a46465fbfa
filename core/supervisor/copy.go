// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// holderLimit is how long, after pid 1's death, one more byte may be waited for
// from a pipe that somebody outside the pid namespace holds open.
const holderLimit = 2 * time.Second

// copies moves bytes between pid 1 and the outside.
type copies struct {
	linger time.Duration // see holderLimit
	group  sync.WaitGroup
	dead   atomic.Bool
	files  []*os.File
}

// startCopies: the console goes to the log and the viewers. With pipes, stdout
// and stderr do too, and what inits write to /dev/console is shown on Err, so
// that Out stays exactly what pid 1 wrote to it.
func (i *instance) startCopies(streams *Streams) *copies {
	c := &copies{linger: holderLimit}
	p := i.process
	if streams == nil {
		streams = &Streams{}
	}
	if p.Stdin != nil {
		// Not waited for: it may hang in a read of the caller's.
		go copyInput(p.Stdin, streams.In)
	}
	messages := &sharedWriter{w: streams.Err}
	c.start(p.Stdout, i.fan, &sharedWriter{w: streams.Out}, true)
	c.start(p.Stderr, i.fan, messages, true)
	c.start(p.Console, i.fan, messages, false)
	return c
}

func (c *copies) start(from *os.File, fan io.Writer, to *sharedWriter, breaks bool) {
	if from == nil {
		return
	}
	c.files = append(c.files, from)
	c.group.Add(1)
	go func() {
		defer c.group.Done()
		c.copyOutput(from, fan, to, breaks)
	}()
}

// copyOutput ends with the stream. When to fails and breaks is set, the pipe is
// closed, so that a program whose reader is gone is told so as if it stood in
// the pipeline itself.
func (c *copies) copyOutput(from *os.File, fan io.Writer, to *sharedWriter, breaks bool) {
	buf := make([]byte, 32<<10)
	for {
		if c.dead.Load() {
			_ = from.SetReadDeadline(time.Now().Add(c.linger))
		}
		n, err := from.Read(buf)
		if n > 0 {
			_, _ = fan.Write(buf[:n])
			if to.write(buf[:n]) != nil && breaks {
				from.Close()
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// drain returns when all that a dead pid 1 wrote is where it belongs.
func (c *copies) drain() {
	c.dead.Store(true)
	for _, f := range c.files {
		_ = f.SetReadDeadline(time.Now().Add(c.linger))
	}
	c.group.Wait()
}

func copyInput(to *os.File, from io.Reader) {
	if from != nil {
		// Ends with from, or with an error once pid 1 has closed its end.
		_, _ = io.Copy(struct{ io.Writer }{to}, struct{ io.Reader }{from})
	}
	to.Close()
}

// sharedWriter takes the writes of several streams and stops at the first error.
type sharedWriter struct {
	mu  sync.Mutex
	w   io.Writer
	err error
}

func (s *sharedWriter) write(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w == nil || s.err != nil {
		return s.err
	}
	_, s.err = s.w.Write(p)
	return s.err
}
