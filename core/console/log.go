// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// segments is into how many files the log's limit is divided: a full one is set
// aside and the oldest goes, so that at least (segments-1)/segments of the limit
// are kept.
const segments = 4

// Log appends to an instance's console log and keeps it below a limit. A write
// that the disk refuses is counted and forgotten, so that a full disk costs log
// lines and never stops pid 1. Bytes are stored exactly as they come.
//
// On disk: PATH is the file that is written to; PATH.BASE-END are those that were
// set aside, named by the part of the whole output that they hold. Beside each,
// in a file with ".times" added, lie its stamps. Positions count from the first
// byte of the first run, so nothing but a rename has to be atomic.
type Log struct {
	mu   sync.Mutex
	path string
	max  int64
	file *os.File
	base int64 // position of file's first byte
	size int64
	lost int64
	now  func() time.Time

	times   *os.File // nil if it cannot be written
	stamped stamp
	index   int64 // length of times
}

// OpenLog opens the log, making it with mode 0600 when missing, and continues
// after what is there. A symbolic link is refused. limit bounds all its files
// together, in bytes; 0 is no limit.
func OpenLog(path string, limit int64) (*Log, error) {
	if limit > 0 {
		limit = max(limit, 64*segments*stampSize)
	}
	l := &Log{path: path, max: limit, now: time.Now}
	all, err := listSegments(path)
	if err != nil {
		return nil, fmt.Errorf("cannot open console log: %w", err)
	}
	if len(all) > 0 {
		l.base = all[len(all)-1].end
	}
	if l.file, err = openLogFile(path, 0); err != nil {
		return nil, fmt.Errorf("cannot open console log: %w", err)
	}
	info, err := l.file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("not a regular file")
	}
	if err != nil {
		l.file.Close()
		return nil, fmt.Errorf("cannot use console log %s: %w", path, err)
	}
	l.size = info.Size()
	l.openTimes()
	return l, nil
}

func openLogFile(path string, flags int) (*os.File, error) {
	return os.OpenFile(path, os.O_RDWR|os.O_APPEND|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK|flags, 0o600)
}

// openTimes continues the index. What a power cut tore, and stamps of output that
// it took, are cut off. A log without an index is still a log.
func (l *Log) openTimes() {
	l.times, l.index, l.stamped = nil, 0, stamp{}
	file, err := openLogFile(timesOf(l.path), 0)
	if err != nil {
		return
	}
	if info, err := file.Stat(); err == nil && info.Mode().IsRegular() {
		l.index = info.Size() / stampSize * stampSize
		for l.index > 0 {
			last, err := readStamp(file, l.index-stampSize)
			if err == nil && last.at <= l.base+l.size && !last.time.IsZero() {
				break
			}
			l.index -= stampSize
		}
		if file.Truncate(l.index) == nil {
			l.times = file
			return
		}
	}
	file.Close()
}

// Write always reports success; see Lost.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for rest := p; len(rest) > 0; {
		n, err := l.write(rest)
		rest = rest[n:]
		if err != nil {
			l.lost += int64(len(rest))
			break
		}
	}
	return len(p), nil
}

// write stores what still fits into the file under way, or begins a new one.
func (l *Log) write(p []byte) (int, error) {
	if l.file == nil {
		return 0, fs.ErrClosed
	}
	if l.max > 0 {
		room := l.max/segments - l.size - l.index
		if room <= stampSize {
			if err := l.rotate(); err != nil {
				return 0, err
			}
			room = l.max / segments
		}
		p = p[:min(int64(len(p)), room-stampSize)]
	}
	l.stamp()
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

// stamp notes when what comes next was written, unless the last note is too young
// to be worth another. A clock that was set back is noted too.
func (l *Log) stamp() {
	now := l.now().Round(0) // without the monotonic clock, which is never set back
	if age := now.Sub(l.stamped.time); l.times == nil || age >= 0 && age < stampEvery {
		return
	}
	next := stamp{at: l.base + l.size, time: now}
	if _, err := l.times.Write(next.encode()); err != nil {
		_ = l.times.Truncate(l.index) // a torn one would shift all that follow
		return
	}
	l.stamped, l.index = next, l.index+stampSize
}

// rotate sets the file under way aside and makes room for a new one. When the new
// one cannot be made all stays as it was.
func (l *Log) rotate() error {
	if l.size == 0 && l.index == 0 {
		return nil
	}
	if err := l.dropOldest(); err != nil {
		return err
	}
	aside := segment{base: l.base, end: l.base + l.size}.name(l.path)
	if err := os.Rename(l.path, aside); err != nil {
		return err
	}
	file, err := openLogFile(l.path, os.O_EXCL)
	if err != nil {
		return errors.Join(err, os.Rename(aside, l.path))
	}
	l.file.Close()
	l.file, l.base, l.size = file, l.base+l.size, 0
	if l.times != nil {
		l.times.Close()
	}
	_ = os.Rename(timesOf(l.path), timesOf(aside))
	l.openTimes()
	return nil
}

// dropOldest removes files until there is room for one more full one.
func (l *Log) dropOldest() error {
	all, err := listSegments(l.path)
	if err != nil {
		return err
	}
	sizes, total := make([]int64, len(all)), l.size+l.index+l.max/segments
	for i, s := range all {
		sizes[i] = s.end - s.base
		if info, err := os.Lstat(timesOf(s.name(l.path))); err == nil {
			sizes[i] += info.Size()
		}
		total += sizes[i]
	}
	for i, s := range all {
		if total <= l.max {
			break
		}
		name := s.name(l.path)
		for _, file := range []string{timesOf(name), name} {
			if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
		total -= sizes[i]
	}
	return nil
}

// Lost is the number of bytes that could not be stored.
func (l *Log) Lost() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Size is the position after the last byte: what earlier runs wrote counts, and
// what was dropped since.
func (l *Log) Size() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base + l.size
}

// Close ends the log; later writes count as lost.
func (l *Log) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return nil
	}
	if l.times != nil {
		l.times.Close()
		l.times = nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
