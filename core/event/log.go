// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// FileName is what the log is called in the state directory.
const FileName = "events.jsonl"

const (
	rotateAt   = 4 << 20     // bytes of the log before it is set aside
	oldSuffix  = ".1"        // of the one that was
	lockWait   = time.Second // for a writer that was stopped while it held the lock
	lockPauses = 5 * time.Millisecond
)

// Log is an event log by its path. The zero value is none: it takes everything
// and keeps nothing.
type Log struct {
	Path string
	size int64 // test: instead of rotateAt
}

// Append writes an event with the next number and the present time. The directory
// of the log must be there. It waits at most a second for other writers.
func (l Log) Append(e Event) error {
	if l.Path == "" {
		return nil
	}
	deadline := time.Now().Add(lockWait)
	for {
		done, err := l.try(&e, deadline)
		if err != nil {
			return fmt.Errorf("cannot write event log: %w", err)
		}
		if done {
			return nil
		}
	}
}

// try appends to the file that is now at the log's path. Without an error and
// not done the log was rotated meanwhile.
func (l Log) try(e *Event, deadline time.Time) (done bool, err error) {
	file, err := os.OpenFile(l.Path, os.O_RDWR|os.O_CREATE|os.O_APPEND|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return false, err
	}
	defer file.Close()
	if err := lock(file, deadline); err != nil {
		return false, err
	}
	if !isAt(file, l.Path) {
		return false, nil
	}
	size, last, err := mend(file)
	if err != nil {
		return false, err
	}
	if last == 0 {
		last = lastOf(l.Path + oldSuffix)
	}
	e.Seq, e.Time = last+1, time.Now().UTC()
	line, err := e.line()
	if err != nil {
		return false, err
	}
	limit := int64(rotateAt)
	if l.size > 0 {
		limit = l.size
	}
	if size > 0 && size+int64(len(line)) > limit {
		// Who waits for the lock of this file finds another one at the path then.
		return false, os.Rename(l.Path, l.Path+oldSuffix)
	}
	if _, err := file.Write(line); err != nil {
		return false, errors.Join(err, file.Truncate(size))
	}
	return true, nil
}

// lock takes the file's flock(2), which ends with the file. It does not wait for
// ever: a supervisor must end with its instance whatever a stopped command holds.
func lock(file *os.File, deadline time.Time) error {
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, lockPauses) {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case err != unix.EWOULDBLOCK && err != unix.EINTR:
			return err
		case time.Now().After(deadline):
			return errors.New("another process holds its lock")
		}
		time.Sleep(pause)
	}
}

// isAt tells whether path still leads to the open file.
func isAt(file *os.File, path string) bool {
	open, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Lstat(path)
	return err == nil && os.SameFile(open, there)
}

// mend takes away what a power cut left of a last line, and returns the file's
// size and the number of the last event in it, 0 if there is none. The caller
// holds the lock.
func mend(file *os.File) (size int64, last uint64, err error) {
	info, err := file.Stat()
	if err != nil {
		return 0, 0, err
	}
	size = info.Size()
	end, last, err := lastIn(file, size)
	if err == nil && end < size {
		err = file.Truncate(end)
	}
	return end, last, err
}

// lastIn finds, in the first size bytes of a log, where the last whole line ends
// and the number of the last event.
func lastIn(file *os.File, size int64) (end int64, last uint64, err error) {
	for window := int64(1 << 10); ; window *= 8 {
		from := max(size-window, 0)
		text := make([]byte, size-from)
		if n, err := file.ReadAt(text, from); err != nil && n < len(text) {
			return 0, 0, err
		}
		end = from + int64(bytes.LastIndexByte(text, '\n')+1)
		text = text[:end-from]
		for len(text) > 0 {
			text = text[:len(text)-1] // its newline
			begin := bytes.LastIndexByte(text, '\n') + 1
			if begin == 0 && from > 0 {
				break // it may have begun before the window
			}
			if e, err := parse(text[begin:]); err == nil {
				return end, e.Seq, nil
			}
			text = text[:begin]
		}
		if from == 0 {
			return end, 0, nil
		}
	}
}

// lastOf is the number of the last event in the file at path, 0 when there is none.
func lastOf(path string) uint64 {
	file, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return 0
	}
	_, last, _ := lastIn(file, info.Size())
	return last
}

// Last is the number of the newest event, 0 when there is none.
func (l Log) Last() uint64 {
	if last := lastOf(l.Path); last > 0 {
		return last
	}
	return lastOf(l.Path + oldSuffix)
}
