// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"strconv"
	"strings"
	"time"

	"firmwared/core/console"
	"firmwared/core/registry"
)

// LogOptions say which part of a log is shown, and how.
type LogOptions struct {
	Follow     bool      // go on until the instance ends or ctx is over
	Since      time.Time // zero: from the beginning
	Tail       int       // only that many of the last lines; negative: all
	Timestamps bool      // put before each line when its first byte was written
}

// logPoll is how long Logs rests when there was nothing new.
const logPoll = 50 * time.Millisecond

// Logs writes an instance's console log to w, byte for byte unless Timestamps
// are asked for. What is no longer there to be shown is told by notice.
func (m *Manager) Logs(ctx context.Context, inst *registry.Instance, w io.Writer, o LogOptions) error {
	r, err := console.OpenLogReader(m.at.log(inst.ID))
	for o.Follow && errors.Is(err, fs.ErrNotExist) && m.status(inst.ID).Alive() && ctx.Err() == nil {
		time.Sleep(logPoll) // its first start is under way
		r, err = console.OpenLogReader(m.at.log(inst.ID))
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it never ran
	}
	if err != nil {
		return fmt.Errorf("instance %s: %w", inst.Name, err)
	}
	defer r.Close()
	if err := m.seekLog(inst, r, o); err != nil {
		return fmt.Errorf("cannot read the log of instance %s: %w", inst.Name, err)
	}
	if lost := m.status(inst.ID).LogLost; lost > 0 {
		m.notice(fmt.Sprintf("instance %s: %d bytes of its last run are missing: the disk did not take them", inst.Name, lost))
	}
	shown := &logShower{out: w, timestamps: o.Timestamps}
	for {
		// Asked before the rest is read: what is written before the end is shown.
		follow := o.Follow && m.status(inst.ID).Alive()
		if err := m.showLog(inst, r, shown, o.Follow); err != nil {
			return fmt.Errorf("cannot show the log of instance %s: %w", inst.Name, err)
		}
		if !follow {
			return nil
		}
		select {
		case <-time.After(logPoll):
		case <-ctx.Done():
			return nil
		}
	}
}

// seekLog goes to the first byte that is asked for, and tells what is missing
// before it.
func (m *Manager) seekLog(inst *registry.Instance, r *console.LogReader, o LogOptions) error {
	start := r.Pos()
	end, err := r.End()
	if err != nil {
		return err
	}
	if !o.Since.IsZero() {
		r.SeekTime(o.Since, end)
	}
	if o.Tail >= 0 {
		if err := r.SeekLines(o.Tail, end); err != nil {
			return err
		}
	}
	if start > 0 && r.Pos() == start {
		m.notice(droppedLog(inst, start))
	}
	return nil
}

func droppedLog(inst *registry.Instance, n int64) string {
	return fmt.Sprintf("instance %s: the oldest %d bytes were dropped to keep its log below log_max", inst.Name, n)
}

// showLog shows what is there now: all, or without follow what was there when it
// began, so that it comes to an end.
func (m *Manager) showLog(inst *registry.Instance, r *console.LogReader, shown *logShower, follow bool) error {
	end := int64(math.MaxInt64)
	if !follow {
		var err error
		if end, err = r.End(); err != nil {
			return err
		}
	}
	buf := make([]byte, 64<<10)
	for r.Pos() < end {
		n, err := r.Read(buf[:min(int64(len(buf)), end-r.Pos())])
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if skipped := r.Skipped(); skipped > 0 {
			m.notice(fmt.Sprintf("instance %s: %d bytes were dropped before they could be shown", inst.Name, skipped))
		}
		if err := shown.write(r, buf[:n]); err != nil {
			return err
		}
	}
	return nil
}

// logShower writes a log, perhaps with timestamps.
type logShower struct {
	out        io.Writer
	timestamps bool
	inLine     bool
}

// stampForm has a fixed width.
const stampForm = "2006-01-02T15:04:05.000Z07:00"

// write shows p, the last bytes that were read.
func (s *logShower) write(r *console.LogReader, p []byte) error {
	if !s.timestamps {
		_, err := s.out.Write(p)
		return err
	}
	r.Refresh()
	var text bytes.Buffer
	for at := r.Pos() - int64(len(p)); len(p) > 0; {
		if !s.inLine {
			text.WriteString(lineStamp(r.Time(at)) + " ")
		}
		line := p
		if i := bytes.IndexByte(p, '\n'); i >= 0 {
			line = p[:i+1]
		}
		s.inLine = line[len(line)-1] != '\n'
		text.Write(line)
		p, at = p[len(line):], at+int64(len(line))
	}
	_, err := s.out.Write(text.Bytes())
	return err
}

func lineStamp(t time.Time) string {
	if t.IsZero() {
		return "-" + strings.Repeat(" ", len(stampForm)-1)
	}
	return t.Format(stampForm)
}

// ParseTime reads a moment: how long ago, as 10m; a date with or without time, of
// this machine's zone unless it says another; or @ and seconds since 1970.
func ParseTime(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	if seconds, ok := strings.CutPrefix(text, "@"); ok {
		if n, err := strconv.ParseFloat(seconds, 64); err == nil && n >= 0 && n < 1<<33 {
			return time.UnixMicro(int64(n * 1e6)), nil
		}
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", time.DateTime, "2006-01-02 15:04", time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, time.Local); err == nil {
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is no time: write how long ago, as 10m, or a date, as 2026-11-23T12:00:00, or @ and seconds since 1970", text)
}
