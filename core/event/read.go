// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Reader gives the events of a log once each and in order. It is for one
// goroutine. Its owner closes it.
type Reader struct {
	// Lost, if set, is told of events that were rotated away before they were
	// read: those with the numbers from first to last.
	Lost func(first, last uint64)

	path  string
	after uint64 // number of the last event given
	file  *os.File
	at    int64 // offset of the first line that was not read
}

// NewReader reads from the event after the one with this number; 0 is the oldest
// that is kept.
func (l Log) NewReader(after uint64) *Reader {
	return &Reader{path: l.Path, after: after}
}

// Close ends the use of the log.
func (r *Reader) Close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// Read gives every event that is new since the last call to emit, and returns
// when there is no more now, or with emit's error. A log that does not exist is
// an empty one.
func (r *Reader) Read(emit func(Event) error) error {
	for {
		if r.file == nil {
			if err := r.open(emit); err != nil || r.file == nil {
				return err
			}
		}
		// Asked before the rest is read: nobody writes to a file that is no
		// longer at its path.
		current := isAt(r.file, r.path)
		if err := r.scan(emit); err != nil || current {
			return err
		}
		r.Close()
	}
}

// open finds the log's file, and gives what is in the old one first. The old one
// is the right one if the other was at its path before and after.
func (r *Reader) open(emit func(Event) error) error {
	for {
		file, err := os.Open(r.path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		old, oldErr := os.Open(r.path + oldSuffix)
		if oldErr == nil && (file == nil || isAt(file, r.path)) {
			before := &Reader{Lost: r.Lost, path: r.path, after: r.after, file: old}
			err := before.scan(emit)
			before.Close()
			if r.after = before.after; err != nil {
				if file != nil {
					file.Close()
				}
				return err
			}
		} else if oldErr == nil {
			old.Close()
		}
		if file == nil {
			return nil // between the two steps of a rotation, or nothing was ever written
		}
		if isAt(file, r.path) {
			r.file, r.at = file, 0
			return nil
		}
		file.Close()
	}
}

// scan gives what is new in the open file. A last line without its end is left
// for later: it is being written, or will be dropped.
func (r *Reader) scan(emit func(Event) error) error {
	buf := make([]byte, 2*maxLine)
	for {
		n, err := r.file.ReadAt(buf, r.at)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		end := bytes.LastIndexByte(buf[:n], '\n') + 1
		if end == 0 {
			if n < len(buf) {
				return nil
			}
			end = n // no event is that long: skip it
		}
		for line := range bytes.Lines(buf[:end]) {
			if err := r.give(bytes.TrimSuffix(line, []byte("\n")), emit); err != nil {
				return err
			}
			r.at += int64(len(line))
		}
	}
}

func (r *Reader) give(line []byte, emit func(Event) error) error {
	e, err := parse(line)
	if err != nil || e.Seq <= r.after {
		return nil // a damaged line, or one that was given
	}
	if r.Lost != nil && r.after > 0 && e.Seq > r.after+1 {
		r.Lost(r.after+1, e.Seq-1)
	}
	r.after = e.Seq
	return emit(e)
}

// unwatched is how often a log is looked at whose changes the kernel does not
// tell, watched how often one is whose changes it does, to be sure.
const (
	unwatched = 50 * time.Millisecond
	watched   = time.Second
)

// Follow gives the events that are there and those that come, until ctx ends,
// which is no error, or emit returns one.
func (r *Reader) Follow(ctx context.Context, emit func(Event) error) error {
	news, stop := watch(r.path)
	defer stop()
	pause := watched
	if news == nil {
		pause = unwatched
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		if err := r.Read(emit); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-news:
		case <-tick.C:
		}
	}
}

// watch tells when the log's file, or that of another name beside it, changes.
// Without inotify, or a directory to watch, news is nil.
func watch(path string) (news <-chan struct{}, stop func()) {
	none := func() {}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, none
	}
	if err := watcher.Add(filepath.Dir(path)); err != nil {
		watcher.Close()
		return nil, none
	}
	changed := make(chan struct{}, 1)
	go func() {
		for {
			select {
			case e, ok := <-watcher.Events:
				if !ok {
					return
				}
				if e.Name != path {
					continue
				}
			case _, ok := <-watcher.Errors: // some were not told: look
				if !ok {
					return
				}
			}
			select {
			case changed <- struct{}{}:
			default: // it will look anyway
			}
		}
	}()
	return changed, func() { watcher.Close() }
}
