// SPDX-License-Identifier: Apache-2.0

// Package treewatch tells when something in directory trees, or a file, has changed
// and is quiet again. A tree may be deleted and made anew.
//
// inotify tells of it; where the kernel has no watches left, or loses events, the
// trees are looked through instead. Nothing is locked, no link is followed.
package treewatch

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// Burst is a series of changes, the last of which was some time ago.
type Burst struct {
	Paths []string // those that were given to New in which something changed; all are there now
	Last  time.Time
}

// check is how often is looked whether a tree is still the one that is watched: one
// of the directories above it may have been renamed.
const check = time.Second

// Watcher watches. It is for one goroutine. Its owner closes it.
type Watcher struct {
	// Notice, if set, is told in one line what the user should know.
	Notice func(string)

	roots   []*root
	inotify *fsnotify.Watcher // nil: poll
	add     func(string) error
	dirs    map[string]bool // that inotify watches
	rescan  bool            // events were lost
	cost    time.Duration   // of the last look through all
	pending map[*root]bool
	last    time.Time // of the latest change
}

// root is a watched tree or file.
type root struct {
	path string
	seen identity
	mark uint64 // of the last scan; see scan
}

// identity tells a directory, or a file, from another one in its place.
type identity struct{ dev, ino uint64 }

func identityOf(path string) identity {
	var st unix.Stat_t
	if unix.Lstat(path, &st) != nil {
		return identity{}
	}
	return identity{st.Dev, st.Ino}
}

// New begins to watch. The paths are absolute, clean and free of links; each may be
// missing. notice may be nil.
func New(paths []string, notice func(string)) *Watcher {
	w := &Watcher{Notice: notice, pending: map[*root]bool{}, dirs: map[string]bool{}}
	for _, path := range paths {
		w.roots = append(w.roots, &root{path: path})
	}
	var err error
	if w.inotify, err = fsnotify.NewBufferedWatcher(4096); err != nil {
		w.inotify = nil
		w.poll(err)
		return w
	}
	w.add = w.inotify.Add
	w.attachAll()
	return w
}

// Close ends the watch.
func (w *Watcher) Close() {
	if w.inotify != nil {
		w.inotify.Close()
	}
}

func (w *Watcher) attachAll() {
	for _, r := range w.roots {
		w.attach(r)
	}
}

// attach watches a tree, as far as it is not watched, and the directory above it,
// or the nearest that exists.
func (w *Watcher) attach(r *root) {
	// Asked before the tree is walked: one that takes its place meanwhile is found by
	// the next check.
	r.seen = identityOf(r.path)
	if w.inotify == nil {
		return
	}
	for dir := filepath.Dir(r.path); ; dir = filepath.Dir(dir) {
		err := w.add(dir)
		if err == nil || dir == "/" || !errors.Is(err, fs.ErrNotExist) {
			w.failed(err)
			break
		}
	}
	w.attachTree(r.path)
}

// attachTree watches each directory before it is read, so that what is made in it
// meanwhile is either found here or told of.
func (w *Watcher) attachTree(top string) {
	_ = filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() { // gone again, or seen from its directory
			return nil
		}
		if w.inotify == nil || w.failed(w.add(path)) {
			return fs.SkipAll
		}
		w.dirs[path] = true
		return nil
	})
}

// detachTree forgets a directory that has another name now, or none: the watches of
// those in it would go on to tell the old one.
func (w *Watcher) detachTree(top string) {
	if w.inotify == nil || !w.dirs[top] {
		return
	}
	for path := range w.dirs {
		if path == top || below(path, top) {
			_ = w.inotify.Remove(path) // most often the kernel has done it
			delete(w.dirs, path)
		}
	}
}

// failed tells whether there are no watches left; then polling begins.
func (w *Watcher) failed(err error) bool {
	if !errors.Is(err, unix.ENOSPC) && !errors.Is(err, unix.ENOMEM) {
		return false // it works, or the directory is gone
	}
	w.poll(err)
	return true
}

// poll gives inotify up.
func (w *Watcher) poll(cause error) {
	w.Close()
	w.inotify = nil
	for _, r := range w.roots {
		r.seen, r.mark = identityOf(r.path), scan(r.path)
	}
	if w.Notice == nil {
		return
	}
	limit := "fs.inotify.max_user_watches"
	if errors.Is(cause, unix.EMFILE) {
		limit = "fs.inotify.max_user_instances"
	}
	value, _ := os.ReadFile("/proc/sys/" + strings.ReplaceAll(limit, ".", "/"))
	w.Notice(fmt.Sprintf("warning: the kernel watches no more directories for this user: looking through them again and again instead; raise the limit (sysctl %s, which is %s)",
		limit, strings.TrimSpace(string(value))))
}

// Next returns once something has changed, nothing more for the time of settle, and
// what changed is there: a tree that was deleted is waited for. What changes after
// that belongs to the next burst. alive, if set, is called about once a second; its
// error ends the wait.
func (w *Watcher) Next(ctx context.Context, settle time.Duration, alive func() error) (Burst, error) {
	tick := time.NewTicker(check)
	defer tick.Stop()
	for {
		var events <-chan fsnotify.Event
		var errs <-chan error
		wait := w.untilQuiet(settle)
		if w.inotify != nil {
			events, errs = w.inotify.Events, w.inotify.Errors
		} else if pause := w.pollPause(settle); wait < 0 || pause < wait {
			wait = pause
		}
		var quiet <-chan time.Time
		if wait >= 0 {
			quiet = time.After(wait)
		}
		select {
		case <-ctx.Done():
			return Burst{}, context.Cause(ctx)
		case e := <-events:
			w.event(e)
		case err := <-errs:
			w.lost(err)
		case <-tick.C:
			w.checkRoots()
			if alive != nil {
				if err := alive(); err != nil {
					return Burst{}, err
				}
			}
		case <-quiet:
			w.catchUp()
			if b, ok := w.settled(settle); ok {
				return b, nil
			}
		}
	}
}

// catchUp takes what was told, or can be seen, by now: time that went by before Next
// was called, or that this process was not given, is no quiet.
func (w *Watcher) catchUp() {
	if w.inotify == nil {
		w.scanAll()
		return
	}
	w.checkRoots()
	for w.inotify != nil {
		select {
		case e := <-w.inotify.Events:
			w.event(e)
		case err := <-w.inotify.Errors:
			w.lost(err)
		default:
			return
		}
	}
}

// untilQuiet is how long to wait for the end of a burst, -1 if none has begun.
func (w *Watcher) untilQuiet(settle time.Duration) time.Duration {
	if len(w.pending) == 0 {
		return -1
	}
	left := time.Until(w.last.Add(settle))
	if left <= 0 && !w.anyThere() {
		return -1
	}
	return max(0, left)
}

func (w *Watcher) anyThere() bool {
	for r := range w.pending {
		if identityOf(r.path) != (identity{}) {
			return true
		}
	}
	return false
}

// settled ends a burst that is quiet.
func (w *Watcher) settled(settle time.Duration) (Burst, bool) {
	if len(w.pending) == 0 || time.Since(w.last) < settle {
		return Burst{}, false
	}
	if w.rescan {
		w.rescan = false
		w.attachAll()
	}
	b := Burst{Last: w.last}
	for r := range w.pending {
		if identityOf(r.path) != (identity{}) {
			b.Paths = append(b.Paths, r.path)
			delete(w.pending, r)
		}
	}
	slices.Sort(b.Paths)
	return b, len(b.Paths) > 0
}

func (w *Watcher) changed(r *root) {
	w.pending[r] = true
	w.last = time.Now()
}

// event takes one event of the kernel's.
func (w *Watcher) event(e fsnotify.Event) {
	for _, r := range w.roots {
		switch {
		case e.Name == r.path || below(r.path, e.Name):
			// The tree itself, or a directory above it, came or went.
			if e.Name == r.path || identityOf(r.path) != r.seen {
				w.changed(r)
			}
			if identityOf(r.path) != r.seen || e.Has(fsnotify.Create) {
				w.detachTree(r.path)
				w.attach(r)
			}
		case below(e.Name, r.path):
			w.changed(r)
			if e.Has(fsnotify.Rename) {
				w.detachTree(e.Name)
			}
			if e.Has(fsnotify.Create) {
				w.attachTree(e.Name)
			}
		}
	}
}

func below(path, dir string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// lost is for events that the kernel's queue did not hold: anything may have changed.
func (w *Watcher) lost(error) {
	w.rescan = true
	for _, r := range w.roots {
		w.changed(r)
	}
}

// checkRoots finds a tree that is another one than the one that is watched.
func (w *Watcher) checkRoots() {
	for _, r := range w.roots {
		if identityOf(r.path) != r.seen {
			w.changed(r)
			w.detachTree(r.path)
			w.attach(r)
		}
	}
}
