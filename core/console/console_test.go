// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const testLimit = 20 * time.Second

func TestLogAppends(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	for _, text := range []string{"one\n\x00\xff", "two\n"} {
		log, err := OpenLog(path, 0)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := log.Write([]byte(text)); err != nil {
			t.Error(err)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "one\n\x00\xfftwo\n" {
		t.Errorf("%q %v", got, err)
	}
}

func TestLogRefusesLinksAndDevices(t *testing.T) {
	dir := t.TempDir()
	if err := os.Symlink("/dev/null", dir+"/link"); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{dir + "/link", "/dev/null", dir, dir + "/no/log"} {
		if log, err := OpenLog(path, 0); err == nil {
			log.Close()
			t.Errorf("%s was opened", path)
		}
	}
}

func TestLogOnFullDisk(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir, 0)
	log, err := OpenLog(dir+"/log", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	chunk := bytes.Repeat([]byte("x"), 10_000)
	for range 20 {
		if n, err := log.Write(chunk); n != len(chunk) || err != nil {
			t.Fatalf("%d %v", n, err)
		}
	}
	info, err := os.Stat(dir + "/log")
	if err != nil {
		t.Fatal(err)
	}
	if log.Lost() == 0 || log.Size() != info.Size() || log.Lost()+log.Size() != 200_000 {
		t.Errorf("lost %d, size %d, on disk %d", log.Lost(), log.Size(), info.Size())
	}
	// Room again: it goes on.
	if err := os.Truncate(dir+"/log", 0); err != nil {
		t.Fatal(err)
	}
	lost := log.Lost()
	_, _ = log.Write([]byte("again"))
	if got, _ := os.ReadFile(dir + "/log"); string(got) != "again" || log.Lost() != lost {
		t.Errorf("%q, lost %d more", got, log.Lost()-lost)
	}
}

// readAll reads to the end and counts what was skipped.
func readAll(v *Viewer) (text []byte, skipped int64) {
	buf := make([]byte, 32<<10)
	for {
		n, s, err := v.Read(buf)
		text, skipped = append(text, buf[:n]...), skipped+s
		if err != nil {
			return text, skipped
		}
	}
}

func TestFanout(t *testing.T) {
	var log bytes.Buffer
	f := NewFanout(&log)
	early := f.Attach()
	_, _ = f.Write([]byte("hello "))
	late := f.Attach()
	_, _ = f.Write([]byte("world"))
	f.Close()
	after := f.Attach()
	for name, v := range map[string]*Viewer{"early": early, "late": late, "after": after} {
		if got, skipped := readAll(v); string(got) != "hello world" || skipped != 0 {
			t.Errorf("%s: %q, %d skipped", name, got, skipped)
		}
	}
	_, _ = f.Write([]byte("!"))
	if log.String() != "hello world!" {
		t.Errorf("%q", log.String())
	}
}

func TestLateViewerSeesWholeLines(t *testing.T) {
	f := NewFanout(nil)
	line := strings.Repeat("y", 99) + "\n"
	for range 1000 {
		_, _ = f.Write([]byte(line))
	}
	v := f.Attach()
	f.Close()
	got, _ := readAll(v)
	if len(got) > screenful || len(got) <= screenful-100 || len(got)%100 != 0 {
		t.Errorf("%d bytes", len(got))
	}
	long := NewFanout(nil)
	_, _ = long.Write(bytes.Repeat([]byte("z"), 3*screenful))
	v = long.Attach()
	long.Close()
	if got, _ := readAll(v); len(got) != screenful {
		t.Errorf("%d bytes of a line without end", len(got))
	}
}

func TestStoppedViewerCostsLittle(t *testing.T) {
	var log bytes.Buffer
	f := NewFanout(&log)
	stopped, reading := f.Attach(), f.Attach()
	var got int
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, 32<<10); ; {
			n, _, err := reading.Read(buf)
			if got += n; err != nil {
				return
			}
		}
	}()
	const chunks = 2000
	chunk := bytes.Repeat([]byte("0123456789abcdef"), 1<<10)
	start := time.Now()
	for range chunks {
		_, _ = f.Write(chunk)
	}
	if took := time.Since(start); took > 3*time.Second {
		t.Errorf("a stopped viewer stalled the writer for %v", took)
	}
	f.Close()
	<-done
	if log.Len() != chunks*len(chunk) {
		t.Errorf("the log has %d bytes of %d", log.Len(), chunks*len(chunk))
	}
	if got != chunks*len(chunk) {
		t.Errorf("a viewer that reads has %d bytes of %d", got, chunks*len(chunk))
	}
	kept, skipped := readAll(stopped)
	if len(kept) != viewerLimit || int64(len(kept))+skipped != chunks*int64(len(chunk)) {
		t.Errorf("a stopped viewer was kept %d bytes and missed %d", len(kept), skipped)
	}
}

func TestRing(t *testing.T) {
	var r ring
	var in, out []byte
	next, buf := byte(0), make([]byte, 7)
	for i := range 1000 {
		p := make([]byte, i%13)
		for j := range p {
			p[j], next = next, next+1
		}
		n := r.put(p, 50)
		in, next = append(in, p[:n]...), next-byte(len(p)-n)
		if r.n > 50 || len(r.buf) > 50 {
			t.Fatalf("%d bytes in %d", r.n, len(r.buf))
		}
		out = append(out, buf[:r.take(buf[:i%8])]...)
	}
	for r.n > 0 {
		out = append(out, buf[:r.take(buf)]...)
	}
	if !bytes.Equal(in, out) || r.buf != nil {
		t.Errorf("%d bytes in, %d out, %d kept", len(in), len(out), len(r.buf))
	}
}

func TestViewerLeaves(t *testing.T) {
	f := NewFanout(nil)
	v := f.Attach()
	read := make(chan error, 1)
	go func() {
		_, _, err := v.Read(make([]byte, 10))
		read <- err
	}()
	v.Close()
	select {
	case err := <-read:
		if !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	case <-time.After(testLimit):
		t.Fatal("a reader hangs after Close")
	}
	_, _ = f.Write([]byte("x"))
	if len(f.viewers) != 0 {
		t.Error("the viewer is still there")
	}
}

func TestFanoutFromManySides(t *testing.T) {
	var log bytes.Buffer
	f := NewFanout(&log)
	var writers, viewers sync.WaitGroup
	for range 4 {
		writers.Add(1)
		viewers.Add(1)
		v := f.Attach()
		go func() {
			defer viewers.Done()
			readAll(v)
		}()
		go func() {
			defer writers.Done()
			for range 200 {
				_, _ = f.Write([]byte("line\n"))
				f.Attach().Close()
			}
		}()
	}
	writers.Wait()
	f.Close()
	viewers.Wait()
	if log.String() != strings.Repeat("line\n", 800) {
		t.Error("lines are mixed or lost")
	}
}

func TestParseKeys(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "none": "", "ctrl-]": "\x1d", "ctrl-a": "\x01", "ctrl-A": "\x01", "x": "x",
		"ctrl-p,ctrl-q": "\x10\x11", "ctrl-@": "\x00", "~,.": "~.",
	} {
		if got, err := ParseKeys(text); err != nil || string(got) != want {
			t.Errorf("%q: %q %v", text, got, err)
		}
	}
	for _, text := range []string{"ctrl-", "ctrl-1", "ctrl-xy", "ab", ",", " ", "ctrl-]x"} {
		if keys, err := ParseKeys(text); err == nil {
			t.Errorf("%q gives %q", text, keys)
		}
	}
}

func TestDetacher(t *testing.T) {
	for _, c := range []struct {
		keys     string
		typed    []string
		out      string
		detached bool
	}{
		{"\x1d", []string{"abc"}, "abc", false},
		{"\x1d", []string{"ab\x1dcd"}, "ab", true},
		{"\x10\x11", []string{"a\x10", "b"}, "a\x10b", false},
		{"\x10\x11", []string{"a\x10", "\x11b"}, "a", true},
		{"\x10\x11", []string{"\x10\x10\x11"}, "\x10", true},
		{"aab", []string{"aaa", "ab"}, "aa", true},
		{"aba", []string{"ab", "c"}, "abc", false},
		{"", []string{"a\x1d"}, "a\x1d", false},
	} {
		d := NewDetacher([]byte(c.keys))
		var out []byte
		var detached bool
		for _, typed := range c.typed {
			more, now := d.Feed([]byte(typed))
			out, detached = append(out, more...), detached || now
		}
		if string(out) != c.out || detached != c.detached {
			t.Errorf("%q after %q: %q %v, want %q %v", c.keys, c.typed, out, detached, c.out, c.detached)
		}
	}
}

func FuzzDetacher(f *testing.F) {
	f.Add([]byte("\x10\x11"), []byte("a\x10\x10\x11b"), 3)
	f.Fuzz(func(t *testing.T, keys, typed []byte, cut int) {
		if len(keys) == 0 || len(keys) > 4 {
			return
		}
		d := NewDetacher(keys)
		cut = min(max(cut, 0), len(typed))
		out, detached := d.Feed(typed[:cut])
		if !detached {
			var more []byte
			more, detached = d.Feed(typed[cut:])
			out = append(bytes.Clone(out), more...)
		}
		at := bytes.Index(typed, keys)
		if detached != (at >= 0) {
			t.Fatalf("%q in %q: %v", keys, typed, detached)
		}
		if detached && string(out) != string(typed[:at]) || !detached && !bytes.HasPrefix(typed, out) {
			t.Errorf("%q in %q: passed on %q", keys, typed, out)
		}
	})
}

func FuzzParseKeys(f *testing.F) {
	f.Add("ctrl-p,ctrl-q")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := ParseKeys(text)
		if err == nil && text != "" && text != "none" && len(keys) != strings.Count(text, ",")+1 {
			t.Errorf("%q gives %q", text, keys)
		}
	})
}
