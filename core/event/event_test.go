// SPDX-License-Identifier: Apache-2.0

package event

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// appender in the environment makes the test binary one of several processes
// that write to the log it names.
const appender = "FIRMWARED_TEST_APPENDER"

func TestMain(m *testing.M) {
	if path := os.Getenv(appender); path != "" {
		l := Log{Path: path, size: 64 << 10} // one rotation, so that a slow reader loses nothing
		for n := range appends {
			if err := l.Append(Event{Type: Prepared, PID: n + 1, Message: fmt.Sprint(os.Getpid())}); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	writers = 6
	appends = 150
)

func newLog(t testing.TB) Log { return Log{Path: filepath.Join(t.TempDir(), FileName)} }

func add(t testing.TB, l Log, events ...Event) {
	t.Helper()
	for _, e := range events {
		if err := l.Append(e); err != nil {
			t.Fatal(err)
		}
	}
}

func all(t testing.TB, l Log, after uint64) []Event {
	t.Helper()
	var got []Event
	r := l.NewReader(after)
	defer r.Close()
	if err := r.Read(func(e Event) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	return got
}

// consecutive checks that numbers are first, first+1, ... and n of them.
func consecutive(t *testing.T, got []Event, first uint64, n int) {
	t.Helper()
	if len(got) != n {
		t.Fatalf("%d events, want %d", len(got), n)
	}
	for i, e := range got {
		if e.Seq != first+uint64(i) {
			t.Fatalf("event %d has number %d, want %d", i, e.Seq, first+uint64(i))
		}
	}
}

func TestAppendAndRead(t *testing.T) {
	l := newLog(t)
	if got := all(t, l, 0); got != nil || l.Last() != 0 {
		t.Fatalf("a log that does not exist has %v", got)
	}
	code, before := 0, time.Now()
	want := Event{Type: Dead, Subject: Subject{"aa", "fw", "bb", "box"}, ExitCode: &code, Reason: "exited"}
	add(t, l, want, Event{Type: Dropped, Path: "/a\nb\"\xff"})
	got := all(t, l, 0)
	consecutive(t, got, 1, 2)
	if got[0].Subject != want.Subject || *got[0].ExitCode != 0 || got[0].Time.Before(before) || got[0].Time.After(time.Now()) {
		t.Errorf("got %+v", got[0])
	}
	consecutive(t, all(t, l, 1), 2, 1)
	if l.Last() != 2 {
		t.Errorf("last is %d", l.Last())
	}
	var zero Log
	if err := zero.Append(want); err != nil {
		t.Error(err)
	}
}

func TestALineHasTheFieldsOfItsTypeOnly(t *testing.T) {
	e := Event{Seq: 7, Time: time.Unix(0, 1).UTC(), Type: Started, Subject: Subject{InstanceID: "bb"}, PID: 4}
	line, err := e.line()
	if err != nil {
		t.Fatal(err)
	}
	want := `{"seq":7,"time":"1970-01-01T00:00:00.000000001Z","type":"started","instance_id":"bb","pid":4}` + "\n"
	if string(line) != want {
		t.Errorf("got %s", line)
	}
}

func TestATornLineIsDropped(t *testing.T) {
	for name, tail := range map[string]string{
		"half a line": `{"seq":3,"time":"2026-01-01T00:00:00Z","ty`, "zeros": "\x00\x00\x00\x00", "a long one": strings.Repeat("x", 100<<10),
	} {
		l := newLog(t)
		add(t, l, Event{Type: Prepared}, Event{Type: Started})
		file, err := os.OpenFile(l.Path, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := file.WriteString(tail); err != nil {
			t.Fatal(err)
		}
		file.Close()
		consecutive(t, all(t, l, 0), 1, 2)
		add(t, l, Event{Type: Dead})
		consecutive(t, all(t, l, 0), 1, 3)
		if text, _ := os.ReadFile(l.Path); bytes.Contains(text, []byte(tail)) {
			t.Errorf("%s is still there", name)
		}
	}
}

func TestDamagedLinesAreSkipped(t *testing.T) {
	l := newLog(t)
	add(t, l, Event{Type: Prepared})
	file, err := os.OpenFile(l.Path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	_, err = file.WriteString("\n{}\nnonsense\n" + strings.Repeat("y", 3*maxLine) + "\n")
	if err != nil {
		t.Fatal(err)
	}
	add(t, l, Event{Type: Started})
	consecutive(t, all(t, l, 0), 1, 2)
}

func TestRotationKeepsOneOldFileAndTheNumbers(t *testing.T) {
	l := newLog(t)
	l.size = 1000
	const n = 60
	for range n {
		add(t, l, Event{Type: Prepared, Message: "some words to fill it"})
	}
	got := all(t, l, 0)
	if len(got) < 5 || len(got) == n {
		t.Fatalf("%d events are kept", len(got))
	}
	consecutive(t, got, n-uint64(len(got))+1, len(got))
	entries, _ := os.ReadDir(filepath.Dir(l.Path))
	if len(entries) != 2 {
		t.Errorf("files: %v", entries)
	}
	for _, e := range entries {
		if info, _ := e.Info(); info.Size() > 1000 || info.Mode() != 0o600 {
			t.Errorf("%s: %d bytes, %v", e.Name(), info.Size(), info.Mode())
		}
	}
	// Right after a rotation there is only the old file to know the number from.
	if err := os.Rename(l.Path, l.Path+oldSuffix); err != nil {
		t.Fatal(err)
	}
	if l.Last() != n {
		t.Errorf("last is %d", l.Last())
	}
	add(t, l, Event{Type: Dead})
	if l.Last() != n+1 {
		t.Errorf("last is %d", l.Last())
	}
}

func TestAReaderIsToldWhatItLost(t *testing.T) {
	l := newLog(t)
	l.size = 500
	for range 50 {
		add(t, l, Event{Type: Prepared})
	}
	var first, last uint64
	r := l.NewReader(3)
	defer r.Close()
	r.Lost = func(a, b uint64) { first, last = a, b }
	var got []Event
	if err := r.Read(func(e Event) error { got = append(got, e); return nil }); err != nil {
		t.Fatal(err)
	}
	if first != 4 || last != got[0].Seq-1 {
		t.Errorf("lost %d to %d, then got %d", first, last, got[0].Seq)
	}
}

// TestAReaderOverManyRotations reads in steps that are shorter than a file.
func TestAReaderOverManyRotations(t *testing.T) {
	l := newLog(t)
	l.size = 3000
	r := l.NewReader(0)
	defer r.Close()
	r.Lost = func(first, last uint64) { t.Errorf("lost %d to %d", first, last) }
	var got []Event
	n := 0
	for step := range 200 {
		for range step % 17 {
			add(t, l, Event{Type: Prepared, Message: strings.Repeat("x", step%50)})
			n++
		}
		if err := r.Read(func(e Event) error { got = append(got, e); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(got) != n {
			t.Fatalf("after step %d: %d of %d events", step, len(got), n)
		}
	}
	consecutive(t, got, 1, n)
}

// TestManyWritersAndAFollower: several processes append over a rotation while one
// follows and one resumes again and again by number.
func TestManyWritersAndAFollower(t *testing.T) {
	l := newLog(t)
	var children []*exec.Cmd
	for range writers {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), appender+"="+l.Path)
		child.Stderr = os.Stderr
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		children = append(children, child)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var got []Event
	resumed := make(chan []Event)
	go func() {
		var mine []Event
		var after uint64
		for ctx.Err() == nil && after < writers*appends {
			r := l.NewReader(after)
			_ = r.Read(func(e Event) error {
				mine, after = append(mine, e), e.Seq
				if e.Seq%7 == 0 {
					return errors.New("enough for now")
				}
				return nil
			})
			r.Close()
		}
		resumed <- mine
	}()
	r := l.NewReader(0)
	defer r.Close()
	done := errors.New("done")
	err := r.Follow(ctx, func(e Event) error {
		if got = append(got, e); e.Seq >= writers*appends {
			return done
		}
		return nil
	})
	if !errors.Is(err, done) {
		t.Errorf("follow: %v after %d events", err, len(got))
	}
	for _, child := range children {
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	}
	consecutive(t, got, 1, writers*appends)
	next := map[string]int{}
	for i, e := range got {
		if next[e.Message]++; e.PID != next[e.Message] {
			t.Fatalf("process %s: its event %d came as number %d", e.Message, e.PID, next[e.Message])
		}
		if i > 0 && e.Time.Before(got[i-1].Time) {
			t.Errorf("event %d is older than the one before", e.Seq)
		}
	}
	consecutive(t, <-resumed, 1, writers*appends)
}

func TestFollowIsQuick(t *testing.T) {
	l := newLog(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen := make(chan Event)
	r := l.NewReader(0)
	ended := make(chan error)
	go func() { ended <- r.Follow(ctx, func(e Event) error { seen <- e; return nil }) }()
	for n := range 20 {
		add(t, l, Event{Type: Prepared})
		select {
		case e := <-seen:
			if late := time.Since(e.Time); n > 0 && late > watched/2 {
				t.Errorf("event %d was seen %v late", e.Seq, late)
			}
		case <-time.After(10 * time.Second):
			t.Fatal("not seen")
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	r.Close()
}

func TestAStoppedWriterHoldsNobodyForEver(t *testing.T) {
	l := newLog(t)
	add(t, l, Event{Type: Prepared})
	holder, err := os.Open(l.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer holder.Close()
	if err := unix.Flock(int(holder.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	if err := l.Append(Event{Type: Dead}); err == nil || time.Since(start) > 5*lockWait {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	consecutive(t, all(t, l, 0), 1, 1)
}

// TestAFullDisk fills a small file system: what fails leaves no part of a line.
func TestAFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	}()
	l := Log{Path: filepath.Join(dir, FileName)}
	written := 0
	for ; ; written++ {
		if written > 10000 {
			t.Fatal("the disk does not become full")
		}
		if err := l.Append(Event{Type: Prepared, Message: "x"}); err != nil {
			if !errors.Is(err, unix.ENOSPC) {
				t.Error(err)
			}
			break
		}
	}
	text, err := os.ReadFile(l.Path)
	if err != nil || !bytes.HasSuffix(text, []byte("\n")) {
		t.Errorf("%v, the log ends in %q", err, text[max(0, len(text)-20):])
	}
	consecutive(t, all(t, l, 0), 1, written)
}

func FuzzParse(f *testing.F) {
	e := Event{Seq: 1, Time: time.Unix(1, 2), Type: Dead, Subject: Subject{"a", "b", "c", "d"}}
	line, err := e.line()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(line[:len(line)-1])
	f.Add([]byte(`{"seq":18446744073709551615,"time":"2026-01-01T00:00:00Z","type":"x","exit_code":-1}`))
	f.Add([]byte("{}"))
	f.Add([]byte{0})
	f.Fuzz(func(t *testing.T, text []byte) {
		e, err := parse(text)
		if err != nil {
			return
		}
		if e.Seq == 0 || e.Type == "" || e.Time.IsZero() {
			t.Fatalf("%q was taken as %+v", text, e)
		}
		again, err := e.line()
		if err != nil {
			return // longer as this program writes it
		}
		back, err := parse(again[:len(again)-1])
		if err != nil || back.Seq != e.Seq || !back.Time.Equal(e.Time) {
			t.Fatalf("%q became %q: %v", text, again, err)
		}
		if !json.Valid(again) || bytes.Count(again, []byte("\n")) != 1 {
			t.Fatalf("%q is no line", again)
		}
	})
}

// FuzzLog opens a log with any content: it can always be appended to and read.
func FuzzLog(f *testing.F) {
	f.Add([]byte(`{"seq":5,"time":"2026-01-01T00:00:00Z","type":"x"}`+"\n{\"se"), []byte(nil))
	f.Add([]byte("\n\n"), []byte(`{"seq":9,"time":"2026-01-01T00:00:00Z","type":"x"}`+"\n"))
	f.Fuzz(func(t *testing.T, text, old []byte) {
		l := newLog(t)
		if os.WriteFile(l.Path, text, 0o600) != nil || os.WriteFile(l.Path+oldSuffix, old, 0o600) != nil {
			t.Fatal("cannot write")
		}
		before := l.Last()
		if before == 1<<64-1 {
			return // there is no next number
		}
		add(t, l, Event{Type: Prepared})
		if got := l.Last(); got != before+1 {
			t.Fatalf("%d after %d", got, before)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	l := newLog(b)
	e := Event{Type: Started, Subject: Subject{"0123456789ab", "firmware", "0123456789ab", "instance"}, PID: 1234}
	for b.Loop() {
		add(b, l, e)
	}
}
