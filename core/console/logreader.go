// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sort"
	"time"

	"golang.org/x/sys/unix"
)

// LogReader reads a log that a Log may be writing to, in this or another
// process, and follows it through its rotations. It belongs to one goroutine.
type LogReader struct {
	path    string
	pos     int64
	skipped int64
	file    *os.File // holds pos; nil when it is to be found
	base    int64    // position of file's first byte
	end     int64    // position after its last; -1: it is the one written to
	stamps  []stamp
}

// OpenLogReader begins at the oldest byte that is kept. A log that does not
// exist is fs.ErrNotExist.
func OpenLogReader(path string) (*LogReader, error) {
	r := &LogReader{path: path}
	if err := r.open(); err != nil {
		return nil, fmt.Errorf("cannot read console log: %w", err)
	}
	r.skipped = 0
	r.Refresh()
	return r, nil
}

// Pos is the position of the next byte. Right after OpenLogReader it is how many
// bytes were dropped to keep the log below its limit.
func (r *LogReader) Pos() int64 { return r.pos }

// Skipped is how many bytes were dropped before Read got to them, since it was
// last asked.
func (r *LogReader) Skipped() int64 {
	n := r.skipped
	r.skipped = 0
	return n
}

// SetPos sets the position of the next byte.
func (r *LogReader) SetPos(pos int64) {
	r.close()
	r.pos = pos
}

// Close gives back the descriptor.
func (r *LogReader) Close() { r.close() }

func (r *LogReader) close() {
	if r.file != nil {
		r.file.Close()
		r.file = nil
	}
}

// Read gives io.EOF at the end of what is there now; later there may be more.
func (r *LogReader) Read(p []byte) (int, error) {
	for {
		if r.file == nil {
			if err := r.open(); err != nil {
				return 0, err
			}
		}
		n, err := r.file.ReadAt(p, r.pos-r.base)
		if n > 0 {
			r.pos += int64(n)
			return n, nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if r.end < 0 {
			if r.current() {
				return 0, io.EOF
			}
			// It was set aside meanwhile, after what has been written since.
			info, err := r.file.Stat()
			if err != nil {
				return 0, err
			}
			r.end = r.base + info.Size()
			continue
		}
		if r.pos < r.end { // a power cut took it
			r.skipped += r.end - r.pos
			r.pos = r.end
		}
		r.close()
	}
}

// current says whether the open file is still the one that is written to.
func (r *LogReader) current() bool {
	there, err := os.Lstat(r.path)
	if err != nil {
		return true // between two files
	}
	ours, err := r.file.Stat()
	return err == nil && os.SameFile(ours, there)
}

// open finds the file that holds pos. It begins anew when the log is rotated
// meanwhile.
func (r *LogReader) open() error {
	for range 1000 {
		file, err := openToRead(r.path)
		if errors.Is(err, fs.ErrNotExist) {
			if all, listErr := listSegments(r.path); listErr != nil || len(all) == 0 {
				return err
			}
			time.Sleep(time.Millisecond) // between two files
			continue
		}
		if err != nil {
			return err
		}
		all, err := listSegments(r.path)
		if err != nil {
			file.Close()
			return err
		}
		r.file, r.base, r.end = file, 0, -1
		if len(all) > 0 {
			r.base = all[len(all)-1].end
		}
		if !r.current() {
			r.close()
			continue
		}
		if err := r.pick(all); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return errors.New("it is rotated faster than it can be read")
}

// pick takes the file that was set aside instead of the current one if pos is in
// it, or the oldest if pos is in none.
func (r *LogReader) pick(all []segment) error {
	for _, s := range all {
		if r.pos >= s.end {
			continue
		}
		file, err := openToRead(s.name(r.path))
		r.close()
		if err != nil {
			return err
		}
		r.file, r.base, r.end = file, s.base, s.end
		break
	}
	if r.pos < r.base {
		r.skipped += r.base - r.pos
		r.pos = r.base
	}
	return nil
}

func openToRead(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// End is the position after the last byte that is there now.
func (r *LogReader) End() (int64, error) {
	at := LogReader{path: r.path, pos: 1<<63 - 1}
	if err := at.open(); err != nil {
		return 0, err
	}
	defer at.close()
	info, err := at.file.Stat()
	if err != nil {
		return 0, err
	}
	return at.base + info.Size(), nil
}

// SeekLines seeks to the beginning of the last n lines before end. What follows
// the last line feed is a line too.
func (r *LogReader) SeekLines(n int, end int64) error {
	buf := make([]byte, 64<<10)
	start := r.pos
	if n <= 0 || end <= start {
		r.SetPos(end)
		return nil
	}
	for high := end - 1; high > start; { // a line feed at end-1 begins no line
		low := max(start, high-int64(len(buf)))
		r.SetPos(low)
		part := buf[:high-low]
		if _, err := io.ReadFull(r, part); err != nil {
			return err
		}
		if r.pos != high { // what was dropped meanwhile is no longer to be shown
			r.skipped = 0
			return nil
		}
		for at := bytes.LastIndexByte(part, '\n'); at >= 0; at = bytes.LastIndexByte(part[:at], '\n') {
			if n--; n == 0 {
				r.SetPos(low + int64(at) + 1)
				return nil
			}
		}
		high = low
	}
	r.SetPos(start)
	return nil
}

// SeekTime seeks to what was written since t. Output of which nobody knows when
// it was written counts as older, and what was written less than stampEvery
// before t may be shown too.
func (r *LogReader) SeekTime(t time.Time, end int64) {
	pos := end
	for _, s := range r.stamps {
		if s.time.After(t.Add(-stampEvery)) {
			pos = max(s.at, r.pos)
			break
		}
	}
	r.SetPos(pos)
}

// Time says when the byte at pos was written, to stampEvery; zero if nobody
// knows, or it was after Refresh.
func (r *LogReader) Time(pos int64) time.Time {
	i := sort.Search(len(r.stamps), func(i int) bool { return r.stamps[i].at > pos })
	if i == 0 {
		return time.Time{}
	}
	return r.stamps[i-1].time
}

// Refresh makes Time know all that has been read. Positions in stamps are those
// of the whole log, so it does not matter in which file they lie by now.
func (r *LogReader) Refresh() {
	var last int64 = -1
	if n := len(r.stamps); n > 0 {
		last = r.stamps[n-1].at
	}
	all, _ := listSegments(r.path)
	var data []byte
	for _, s := range all {
		if s.end < last {
			continue
		}
		part, _ := os.ReadFile(timesOf(s.name(r.path)))
		data = append(data, part[:len(part)/stampSize*stampSize]...)
	}
	part, _ := os.ReadFile(timesOf(r.path))
	for _, s := range parseStamps(append(data, part...)) {
		if s.at > last {
			r.stamps = append(r.stamps, s)
		}
	}
}
