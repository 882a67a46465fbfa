// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Mark says that an operation on an object is under way. Whoever finds one
// whose maker is dead finishes or undoes what it was about.
type Mark struct {
	Object string // for instance instance.0123456789ab
	locks  []*Lock
}

// Begin marks an operation on object before it acts.
func (s *Store) Begin(object string) (*Mark, error) {
	path := s.path("pending", object+"."+NewID())
	hidden := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	lock, err := flock(hidden, unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("cannot mark an operation on %s: %w", object, err)
	}
	// It appears under its name only once it is locked, so that nobody takes
	// it for a dead one's.
	if err := os.Rename(hidden, path); err != nil {
		lock.Remove()
		return nil, fmt.Errorf("cannot mark an operation on %s: %w", object, err)
	}
	lock.path = path
	return &Mark{object, []*Lock{lock}}, nil
}

// File is the mark's open file: a process that inherits it holds the mark too.
func (m *Mark) File() *os.File { return m.locks[0].file }

// Path is where the mark is; who removes it there ends it.
func (m *Mark) Path() string { return m.locks[0].path }

// End says that the operation is over and nothing of it is left to be mended. A
// nil mark is none.
func (m *Mark) End() {
	if m == nil {
		return
	}
	for _, lock := range m.locks {
		lock.Remove()
	}
}

// Abandon leaves the mark behind for the next command to look at the object.
func (m *Mark) Abandon() {
	if m == nil {
		return
	}
	for _, lock := range m.locks {
		lock.file.Close() // a process that inherited it goes on holding it
	}
}

// Dead returns the marks whose makers are dead, those on one object as one; each
// is now the caller's. One without an object was never shown: nothing was done
// under it.
func (s *Store) Dead() []*Mark {
	var dead []*Mark
	for _, name := range names(s.path("pending")) {
		lock, err := flock(s.path("pending", name), unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue
		}
		object := objectOf(name)
		i := slices.IndexFunc(dead, func(m *Mark) bool { return m.Object == object })
		if i < 0 {
			dead, i = append(dead, &Mark{Object: object}), len(dead)
		}
		dead[i].locks = append(dead[i].locks, lock)
	}
	return dead
}

// objectOf reads a mark's file name; a hidden one is of nothing.
func objectOf(name string) string {
	dot := strings.LastIndexByte(name, '.')
	if dot <= 0 || strings.HasPrefix(name, ".") {
		return ""
	}
	return name[:dot]
}

// Marked tells whether somebody living has a mark on object, other than own,
// which may be nil.
func (s *Store) Marked(object string, own *Mark) bool {
	for _, name := range names(s.path("pending")) {
		path := s.path("pending", name)
		mine := own != nil && slices.ContainsFunc(own.locks, func(l *Lock) bool { return l.path == path })
		if objectOf(name) == object && !mine && held(path) {
			return true
		}
	}
	return false
}

// Pending names the objects of operations under way, and of those whose makers are
// dead. It changes nothing.
func (s *Store) Pending() (living, dead []string) {
	for _, name := range names(s.path("pending")) {
		object, path := objectOf(name), s.path("pending", name)
		if object == "" {
			continue
		}
		if held(path) {
			living = append(living, object)
		} else if _, err := os.Lstat(path); err == nil { // else it is over
			dead = append(dead, object)
		}
	}
	return living, dead
}
