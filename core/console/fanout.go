// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"io"
	"sync"
)

// screenful is how much recent output a late viewer is shown first.
const screenful = 8 << 10

// Fanout copies a console's output to the log and to the viewers of the moment.
type Fanout struct {
	mu      sync.Mutex
	log     io.Writer
	recent  []byte
	cut     bool
	viewers map[*Viewer]struct{}
	closed  bool
}

// NewFanout makes a Fanout that writes everything to log first. A nil log is
// none.
func NewFanout(log io.Writer) *Fanout {
	return &Fanout{log: log, viewers: map[*Viewer]struct{}{}}
}

// Write never fails and never blocks for long: see Viewer for what a slow viewer
// costs.
func (f *Fanout) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.log != nil {
		// The log counts what it could not store; there is nobody to tell here.
		_, _ = f.log.Write(p)
	}
	f.remember(p)
	for v := range f.viewers {
		if !v.put(p) {
			delete(f.viewers, v)
		}
	}
	return len(p), nil
}

func (f *Fanout) remember(p []byte) {
	if over := len(f.recent) + len(p) - screenful; over > 0 {
		f.cut = true
		if over >= len(f.recent) {
			p = p[over-len(f.recent):]
			f.recent = f.recent[:0]
		} else {
			f.recent = f.recent[:copy(f.recent, f.recent[over:])]
		}
	}
	f.recent = append(f.recent, p...)
}

// Attach adds a viewer, which first sees the last screenful. After Close it sees
// that and then the end.
func (f *Fanout) Attach() *Viewer {
	f.mu.Lock()
	defer f.mu.Unlock()
	v := newViewer(f.screen())
	if f.closed {
		v.end()
	} else {
		f.viewers[v] = struct{}{}
	}
	return v
}

// screen leaves out the first line when its beginning is lost, so that a viewer
// is not shown half an escape sequence.
func (f *Fanout) screen() []byte {
	recent := f.recent
	if f.cut {
		if i := bytes.IndexByte(recent, '\n'); i >= 0 && i+1 < len(recent) {
			recent = recent[i+1:]
		}
	}
	return recent
}

// Close tells the viewers that no more will come; what they hold can still be
// read. Writes after it reach the log only.
func (f *Fanout) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for v := range f.viewers {
		v.end()
		delete(f.viewers, v)
	}
}
