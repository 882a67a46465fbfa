// SPDX-License-Identifier: Apache-2.0

package console

import (
	"io"
	"sync"
	"time"
)

const (
	// viewerLimit bounds what is held for one viewer.
	viewerLimit = 1 << 20
	// stallLimit is how long a writer waits for a viewer that takes nothing.
	stallLimit = 100 * time.Millisecond
	// stallBudget is how long writers wait for one viewer in all, and
	// stallEarned what each viewerLimit bytes that it takes give back. So one that
	// is merely slower than pid 1 sees every byte down to 4 MiB/s, and one that
	// hardly moves costs pid 1 a second.
	stallBudget = time.Second
	stallEarned = 250 * time.Millisecond
)

// Viewer is one reader of a Fanout. When its buffer is full the writer waits a
// little (stallLimit, stallBudget); a viewer that still takes nothing misses
// output until it has read all that is held for it.
type Viewer struct {
	mu      sync.Mutex
	held    []byte
	skipped int64
	lagging bool
	ended   bool
	gone    bool
	budget  time.Duration
	taken   int
	more    chan struct{}
	room    chan struct{}
}

func newViewer(first []byte) *Viewer {
	return &Viewer{
		held:   first,
		budget: stallBudget,
		more:   make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
	}
}

// Read blocks until there is output. skipped counts the bytes that were left out
// just before those returned. The end of the console is io.EOF; after Close it is
// io.ErrClosedPipe.
func (v *Viewer) Read(p []byte) (n int, skipped int64, err error) {
	for {
		v.mu.Lock()
		if len(v.held) > 0 && !v.gone {
			n = copy(p, v.held)
			v.took(n)
			v.mu.Unlock()
			wake(v.room)
			return n, 0, nil
		}
		// What was skipped came after everything that was held.
		if v.lagging && !v.gone {
			skipped, v.skipped, v.lagging = v.skipped, 0, false
			v.mu.Unlock()
			return 0, skipped, nil
		}
		gone, ended := v.gone, v.ended
		v.mu.Unlock()
		switch {
		case gone:
			return 0, 0, io.ErrClosedPipe
		case ended:
			return 0, 0, io.EOF
		}
		<-v.more
	}
}

func (v *Viewer) took(n int) {
	v.held = v.held[n:]
	if len(v.held) == 0 {
		v.held = nil
	}
	v.taken += n
	if v.taken >= viewerLimit {
		v.taken -= viewerLimit
		v.budget = min(v.budget+stallEarned, stallBudget)
	}
}

// Close drops what is held; the Fanout forgets the viewer at its next write.
func (v *Viewer) Close() {
	v.mu.Lock()
	v.gone, v.held = true, nil
	v.mu.Unlock()
	wake(v.more)
	wake(v.room)
}

func (v *Viewer) end() {
	v.mu.Lock()
	v.ended = true
	v.mu.Unlock()
	wake(v.more)
}

// put is false when the viewer is gone.
func (v *Viewer) put(p []byte) bool {
	for {
		v.mu.Lock()
		if v.gone {
			v.mu.Unlock()
			return false
		}
		if v.lagging {
			v.skipped += int64(len(p))
			v.mu.Unlock()
			return true
		}
		n := min(len(p), viewerLimit-len(v.held))
		v.held = append(v.held, p[:n]...)
		p = p[n:]
		v.mu.Unlock()
		wake(v.more)
		if len(p) == 0 {
			return true
		}
		if !v.awaitRoom() {
			v.mu.Lock()
			v.lagging = true
			v.mu.Unlock()
		}
	}
}

func (v *Viewer) awaitRoom() bool {
	v.mu.Lock()
	limit := min(stallLimit, v.budget)
	v.mu.Unlock()
	if limit <= 0 {
		return false
	}
	start := time.Now()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-v.room:
	case <-timer.C:
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.budget -= time.Since(start)
	return len(v.held) < viewerLimit || v.gone
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
