// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"errors"
	"fmt"
	"os"

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

// Unlock gives the lock back, also from children of this process that have not come
// to their execve(2) yet. A nil lock is none.
func (l *Lock) Unlock() {
	if l != nil {
		_ = unix.Flock(int(l.file.Fd()), unix.LOCK_UN)
		l.file.Close()
	}
}

// Remove unlinks the lock's file while it is held, when its object is gone, and
// gives it back.
func (l *Lock) Remove() {
	_ = os.Remove(l.path)
	l.Unlock()
}

// Locked tells whether somebody holds the lock of this name. It makes no file.
func (s *Store) Locked(name string) bool { return held(s.path("locks", name)) }

// LockNames lists the locks that have a file, held or not.
func (s *Store) LockNames() []string { return names(s.path("locks")) }

// held asks for a lock by sharing it for a moment.
func held(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB)
		if err != unix.EINTR {
			return err == unix.EWOULDBLOCK
		}
	}
}

func names(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name())
	}
	return all
}
