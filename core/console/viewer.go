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
	stallLimit = 500 * time.Millisecond
	// stallBudget is how long writers wait for one viewer in all, and
	// stallEarned what each viewerLimit bytes that it takes give back. So one that
	// is merely slower than pid 1 sees every byte down to 4 MiB/s, and one that
	// hardly moves costs pid 1 two seconds.
	stallBudget = 2 * time.Second
	stallEarned = 250 * time.Millisecond
)

// Viewer is one reader of a Fanout. When its buffer is full the writer waits a
// little (stallLimit, stallBudget); a viewer that still takes nothing misses
// output until it has read all that is held for it.
type Viewer struct {
	mu      sync.Mutex
	held    ring
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
	v := &Viewer{
		budget: stallBudget,
		more:   make(chan struct{}, 1),
		room:   make(chan struct{}, 1),
	}
	v.held.put(first, viewerLimit)
	return v
}

// Read blocks until there is output. skipped counts the bytes that were left out
// just before those returned. The end of the console is io.EOF; after Close it is
// io.ErrClosedPipe.
func (v *Viewer) Read(p []byte) (n int, skipped int64, err error) {
	for {
		v.mu.Lock()
		if v.held.n > 0 && !v.gone {
			n = v.held.take(p)
			v.earn(n)
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

func (v *Viewer) earn(n int) {
	v.taken += n
	if v.taken >= viewerLimit {
		v.taken -= viewerLimit
		v.budget = min(v.budget+stallEarned, stallBudget)
	}
}

// Close drops what is held; the Fanout forgets the viewer at its next write.
func (v *Viewer) Close() {
	v.mu.Lock()
	v.gone, v.held = true, ring{}
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
		p = p[v.held.put(p, viewerLimit):]
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

// awaitRoom is false when the viewer took nothing for as long as it is worth.
func (v *Viewer) awaitRoom() bool {
	v.mu.Lock()
	limit := min(stallLimit, v.budget)
	v.mu.Unlock()
	start := time.Now()
	timer := time.NewTimer(max(limit, 0))
	defer timer.Stop()
	for timedOut := false; ; {
		select {
		case <-v.room:
		case <-timer.C:
			timedOut = true
		}
		// A wake-up may be an old one, for room that has been used since.
		v.mu.Lock()
		room := v.held.n < viewerLimit || v.gone
		if room || timedOut {
			v.budget -= time.Since(start)
		}
		v.mu.Unlock()
		if room || timedOut {
			return room
		}
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
