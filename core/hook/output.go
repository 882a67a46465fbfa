// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Bounds of what is kept of a hook's output. Everything beyond is read and forgotten: a hook never blocks on a full
// pipe, and its talk never grows the program.
const (
	maxStdout  = 64 << 10
	maxLine    = 1024
	maxTail    = 20
	maxLogged  = 1000
	readBuffer = 16 << 10
	pipeSize   = 64 << 10 // pipe(7): what may still be in a pipe when its reader stops
)

// escape makes text safe for a terminal and a log: what is not printable becomes \xNN or \u{N}.
func escape(s string) string {
	clean := true
	for i := 0; i < len(s) && clean; i++ {
		clean = s[i] >= ' ' && s[i] < 0x7f
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == '\t':
			b.WriteByte(' ')
		case c == utf8.RuneError && n == 1, c < ' ', c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\u{%x}`, c)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// clip shortens text to about n bytes without cutting a character.
func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}

// clipFront keeps about the last n bytes of text without cutting a character.
func clipFront(s string, n int) string {
	if len(s) <= n {
		return s
	}
	at := len(s) - n
	for at < len(s) && !utf8.RuneStart(s[at]) {
		at++
	}
	return "..." + s[at:]
}

// splitter cuts a stream into lines of at most maxLine bytes; the rest of a longer line is dropped.
type splitter struct {
	line []byte
	cut  bool
	emit func(line []byte, cut bool) // line is valid during the call only
}

func (s *splitter) write(p []byte) {
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		part := p
		if end >= 0 {
			part = p[:end]
		}
		if room := maxLine - len(s.line); len(part) > room {
			part, s.cut = part[:room], true
		}
		s.line = append(s.line, part...)
		if end < 0 {
			return
		}
		s.flush()
		p = p[end+1:]
	}
}

func (s *splitter) flush() {
	s.emit(s.line, s.cut)
	s.line, s.cut = s.line[:0], false
}

// close ends a last line that has no newline, if there is one.
func (s *splitter) close() {
	if len(s.line) > 0 || s.cut {
		s.flush()
	}
}

// present makes a raw line fit for people.
func present(line []byte, cut bool) string {
	text := escape(string(bytes.TrimRight(line, "\r \t")))
	if cut {
		text += "..."
	}
	return text
}

// tail keeps the last lines that are not blank, in memory that does not grow.
type tail struct {
	lines [maxTail][]byte
	cut   [maxTail]bool
	n     int
}

func (t *tail) add(line []byte, cut bool) {
	if len(bytes.TrimSpace(line)) == 0 {
		return
	}
	i := t.n % maxTail
	t.lines[i] = append(t.lines[i][:0], line...)
	t.cut[i] = cut
	t.n++
}

func (t *tail) last() []string {
	var out []string
	for i := max(0, t.n-maxTail); i < t.n; i++ {
		out = append(out, present(t.lines[i%maxTail], t.cut[i%maxTail]))
	}
	return out
}

// drain reads one pipe to its end in a goroutine of its own.
type drain struct {
	pipe *os.File
	sink func([]byte)
	done chan struct{}
}

// newDrain returns a reader, and the end for the child, which the caller closes. The child's end is a blocking one,
// as programs expect; os.Pipe would make both non-blocking.
func newDrain(sink func([]byte)) (*drain, int, error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, -1, err
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
		return nil, -1, err
	}
	return &drain{pipe: os.NewFile(uintptr(fds[0]), "hook output"), sink: sink, done: make(chan struct{})}, fds[1], nil
}

func (d *drain) run() {
	defer close(d.done)
	buf := make([]byte, readBuffer)
	for {
		n, err := d.pipe.Read(buf)
		d.sink(buf[:n])
		if err != nil {
			return
		}
	}
}

// finish waits until the pipe ends, at most for patience, then takes what is in it at once and closes it. Processes
// that were left running, or that got away, may hold the other end for ever.
func (d *drain) finish(patience time.Duration) {
	defer d.pipe.Close()
	if patience > 0 {
		timer := time.NewTimer(patience)
		defer timer.Stop()
		select {
		case <-d.done:
			return
		case <-timer.C:
		}
	}
	_ = d.pipe.SetReadDeadline(time.Unix(1, 0))
	<-d.done
	_ = d.pipe.SetReadDeadline(time.Time{})
	raw, err := d.pipe.SyscallConn()
	if err != nil {
		return
	}
	buf := make([]byte, pipeSize)
	_ = raw.Read(func(fd uintptr) bool {
		if n, err := unix.Read(int(fd), buf); err == nil && n > 0 {
			d.sink(buf[:n])
		}
		return true
	})
}
