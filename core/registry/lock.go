// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// ErrLocked says that somebody else holds a lock.
var ErrLocked = errors.New("in use by another firmwared command")

// Lock is a held flock(2). It ends with Unlock or with the process.
type Lock struct {
	file *os.File
	path string
}

// Mode is how a lock is shared.
type Mode int

// The modes of flock(2).
const (
	Shared    Mode = unix.LOCK_SH
	Exclusive Mode = unix.LOCK_EX
)

// Lock waits for the lock of this name, or for ctx.
func (s *Store) Lock(ctx context.Context, name string, mode Mode) (*Lock, error) {
	lock, err := s.TryLock(name, mode)
	if !errors.Is(err, ErrLocked) {
		return lock, err
	}
	type result struct {
		lock *Lock
		err  error
	}
	done := make(chan result, 1)
	go func() {
		lock, err := flock(s.path("locks", name), int(mode))
		done <- result{lock, err}
	}()
	select {
	case r := <-done:
		return r.lock, r.err
	case <-ctx.Done():
		// The waiting thread cannot be called back; should it get the lock
		// after all, the lock goes at once.
		go func() {
			if r := <-done; r.lock != nil {
				r.lock.Unlock()
			}
		}()
		return nil, fmt.Errorf("cannot wait for lock %s any longer: %w", name, context.Cause(ctx))
	}
}

// TryLock takes the lock if it is free, else it returns ErrLocked.
func (s *Store) TryLock(name string, mode Mode) (*Lock, error) {
	return flock(s.path("locks", name), int(mode)|unix.LOCK_NB)
}

// flock locks the file at path, which Remove may unlink at any time: a lock on
// an unlinked file is a lock on nothing, so it is taken again.
func flock(path string, how int) (*Lock, error) {
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, fmt.Errorf("cannot open lock: %w", err)
		}
		for {
			err = unix.Flock(int(f.Fd()), how)
			if err != unix.EINTR {
				break
			}
		}
		if err != nil {
			f.Close()
			if err == unix.EWOULDBLOCK {
				return nil, ErrLocked
			}
			return nil, fmt.Errorf("cannot lock %s: %w", path, err)
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(f.Fd()), &st); err == nil && st.Nlink > 0 {
			return &Lock{f, path}, nil
		}
		f.Close()
	}
}

// Unlock gives the lock back. A nil lock is none.
func (l *Lock) Unlock() {
	if l != nil {
		l.file.Close()
	}
}

// Remove unlinks the lock's file while it is held, when its object is gone, and
// gives it back.
func (l *Lock) Remove() {
	_ = os.Remove(l.path)
	l.Unlock()
}

// Mark says that an operation on an object is under way. Whoever finds one
// whose maker is dead finishes or undoes what it was about.
type Mark struct {
	Object string // for instance instance.0123456789ab
	lock   *Lock
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
	return &Mark{object, lock}, nil
}

// File is the mark's open file: a process that inherits it holds the mark too.
func (m *Mark) File() *os.File { return m.lock.file }

// Path is where the mark is; who removes it there ends it.
func (m *Mark) Path() string { return m.lock.path }

// End says that the operation is over and nothing of it is left to be mended.
func (m *Mark) End() { m.lock.Remove() }

// Abandon leaves the mark behind for the next command to look at the object.
func (m *Mark) Abandon() { m.lock.Unlock() }

// Dead returns the marks whose makers are dead; each is now the caller's.
func (s *Store) Dead() []*Mark {
	entries, _ := os.ReadDir(s.path("pending"))
	var dead []*Mark
	for _, entry := range entries {
		name := entry.Name()
		hidden := strings.HasPrefix(name, ".")
		dot := strings.LastIndexByte(name, '.')
		path := s.path("pending", name)
		lock, err := flock(path, unix.LOCK_EX|unix.LOCK_NB)
		if err != nil {
			continue
		}
		if hidden || dot < 0 { // its maker died before it could show it: nothing was done yet
			lock.Remove()
			continue
		}
		dead = append(dead, &Mark{name[:dot], lock})
	}
	return dead
}

// Pending names the objects of operations under way, and of those whose makers are
// dead. It changes nothing.
func (s *Store) Pending() (living, dead []string) {
	entries, _ := os.ReadDir(s.path("pending"))
	for _, entry := range entries {
		name := entry.Name()
		dot := strings.LastIndexByte(name, '.')
		if dot <= 0 || name[0] == '.' { // not shown yet: nothing was done
			continue
		}
		f, err := os.Open(s.path("pending", name))
		if err != nil { // over
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) == nil {
			dead = append(dead, name[:dot])
		} else {
			living = append(living, name[:dot])
		}
		f.Close()
	}
	return living, dead
}
