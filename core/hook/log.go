// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"fmt"
	"time"
)

// LineKind says what a Line reports.
type LineKind int

// A call gives one LineStart, any number of LineStderr and one LineResult, in that order.
const (
	LineStart LineKind = iota
	LineStderr
	LineResult
)

// Line is one event of a call.
type Line struct {
	Kind                        LineKind
	Object, Hook, Action, Layer string
	Text                        string        // of stderr, escaped
	Took                        time.Duration // of a result
	Exit                        int           // of a result; -1 if the hook did not end by itself with a status
	Err                         error         // of a result: nil or *Error
}

// String is the line as people read it.
func (l Line) String() string {
	head := title(l.Hook, l.Action) + ": " + l.Action
	if l.Layer != "" {
		head += " " + l.Layer
	}
	if l.Object != "" {
		head += " (" + l.Object + ")"
	}
	switch l.Kind {
	case LineStart:
		return head
	case LineStderr:
		return head + ": " + l.Text
	}
	took := fmt.Sprintf("%.1f ms", float64(l.Took.Microseconds())/1000)
	switch {
	case l.Err == nil:
		return head + ": done in " + took
	case l.Exit >= 0:
		return fmt.Sprintf("%s: exit status %d after %s", head, l.Exit, took)
	}
	return head + ": no exit status after " + took
}

// log reports to the Runner's Log in the call's name.
func (r *Runner) log(c *Call, l Line) {
	if r.Log == nil {
		return
	}
	l.Object, l.Hook, l.Action, l.Layer = c.Object, c.Hook.Name, c.Action, c.Layer
	r.Log(l)
}

// stderr takes what a hook says: the first lines go to the log, the last ones into an error.
type stderr struct {
	splitter
	tail tail
	seen int
	log  func(text string)
}

func newStderr(log func(string)) *stderr {
	s := &stderr{log: log}
	s.emit = s.take
	return s
}

func (s *stderr) take(line []byte, cut bool) {
	s.tail.add(line, cut)
	if s.seen++; s.seen <= maxLogged {
		s.log(present(line, cut))
	}
}

func (s *stderr) close() {
	s.splitter.close()
	if more := s.seen - maxLogged; more > 0 {
		s.log(fmt.Sprintf("(%d more lines are not logged)", more))
	}
}

// stdout takes a hook's result: whole, or line by line.
type stdout struct {
	lines *splitter
	data  []byte
	flood bool
}

func newStdout(line func(string)) *stdout {
	s := &stdout{}
	if line != nil {
		s.lines = &splitter{emit: func(text []byte, cut bool) { line(present(text, cut)) }}
	}
	return s
}

func (s *stdout) write(p []byte) {
	if s.lines != nil {
		s.lines.write(p)
		return
	}
	if room := maxStdout - len(s.data); len(p) > room {
		p, s.flood = p[:room], true
	}
	s.data = append(s.data, p...)
}

func (s *stdout) close() {
	if s.lines != nil {
		s.lines.close()
	}
}
