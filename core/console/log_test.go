// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// random is the same bytes every time.
func random(n int) []byte {
	data := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(data)
	return data
}

func openLog(t *testing.T, path string, limit int64) *Log {
	t.Helper()
	log, err := OpenLog(path, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return log
}

func openReader(t *testing.T, path string) *LogReader {
	t.Helper()
	r, err := OpenLogReader(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

// usedBy is the length of all of a log's files.
func usedBy(t *testing.T, path string) (total int64) {
	t.Helper()
	names, err := filepath.Glob(path + "*")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		total += info.Size()
	}
	return total
}

const smallLog = 64 << 10

// TestLogRotates writes in pieces of odd sizes, over several runs, and checks at each step that the files are below
// the limit and that what is kept is exactly the end of what was written.
func TestLogRotates(t *testing.T) {
	path := t.TempDir() + "/log"
	all := random(10 * smallLog)
	sizes := rand.New(rand.NewPCG(1, 2))
	for written, run := 0, 0; written < len(all); run++ {
		log := openLog(t, path, smallLog)
		for piece := 0; piece < 7 && written < len(all); piece++ {
			n := min(1+sizes.IntN(40_000), len(all)-written)
			if got, err := log.Write(all[written : written+n]); got != n || err != nil {
				t.Fatal(got, err)
			}
			written += n
			if used := usedBy(t, path); used > smallLog {
				t.Fatalf("%d bytes on disk after %d written", used, written)
			}
			r := openReader(t, path)
			start := r.Pos()
			kept, err := io.ReadAll(r)
			r.Close()
			if err != nil || !bytes.Equal(kept, all[start:written]) {
				t.Fatalf("after %d: from %d on %d bytes are kept, %v", written, start, len(kept), err)
			}
			if keep := min(written, smallLog*(segments-1)/segments-1000); len(kept) < keep {
				t.Fatalf("after %d only %d bytes are kept", written, len(kept))
			}
		}
		if int(log.Size()) != written || log.Lost() != 0 {
			t.Fatalf("size %d, lost %d; written %d", log.Size(), log.Lost(), written)
		}
		log.Close()
	}
}

// TestReaderFollowsRotations reads each time a little more was written than the log holds.
func TestReaderFollowsRotations(t *testing.T) {
	path := t.TempDir() + "/log"
	log := openLog(t, path, smallLog)
	r := openReader(t, path)
	all, got := random(8*smallLog), []byte{}
	for at := 0; at < len(all); at += smallLog / 2 {
		if _, err := log.Write(all[at : at+smallLog/2]); err != nil {
			t.Fatal(err)
		}
		more, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, more...)
	}
	if !bytes.Equal(got, all) || r.Skipped() != 0 {
		t.Errorf("read %d of %d bytes, skipped %d", len(got), len(all), r.Skipped())
	}
	// One that is too slow is told how much it missed.
	if _, err := log.Write(all); err != nil {
		t.Fatal(err)
	}
	more, err := io.ReadAll(r)
	if skipped := r.Skipped(); err != nil || skipped == 0 || int(skipped)+len(more) != len(all) || !bytes.HasSuffix(all, more[len(more)/2:]) {
		t.Errorf("read %d of %d bytes, skipped %d, %v", len(more), len(all), skipped, err)
	}
}

// TestReaderBesideWriter has both at work at once.
func TestReaderBesideWriter(t *testing.T) {
	path := t.TempDir() + "/log"
	log := openLog(t, path, smallLog)
	r := openReader(t, path)
	all := random(20 * smallLog)
	read, done := make(chan int, 1000), make(chan struct{})
	go func() {
		defer close(done)
		allowed := smallLog / 2 // so that nothing is dropped before it is read
		for at := 0; at < len(all); at += 1000 {
			for at+1000 > allowed {
				allowed = smallLog/2 + <-read
			}
			_, _ = log.Write(all[at:min(at+1000, len(all))])
		}
	}()
	got := []byte{}
	buf := make([]byte, 3000)
	for end := time.Now().Add(20 * time.Second); len(got) < len(all) && time.Now().Before(end); {
		n, err := r.Read(buf)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if got = append(got, buf[:n]...); n > 0 {
			select {
			case read <- len(got):
			default:
			}
		}
	}
	<-done
	if !bytes.Equal(got, all) || r.Skipped() != 0 {
		t.Errorf("read %d of %d bytes, skipped %d", len(got), len(all), r.Skipped())
	}
}

func TestSeekLines(t *testing.T) {
	long := strings.Repeat("x", 50_000)
	for text, want := range map[string][]string{
		"a\nb\nc\n":                          {"", "c\n", "b\nc\n", "a\nb\nc\n", "a\nb\nc\n"},
		"a\nb\nc":                            {"", "c", "b\nc", "a\nb\nc", "a\nb\nc"},
		"a\n\n":                              {"", "\n", "a\n\n"},
		"\n":                                 {"", "\n", "\n"},
		"":                                   {"", ""},
		long + "\n" + long + "\n" + long[1:]: {"", long[1:], long + "\n" + long[1:]},
	} {
		path := t.TempDir() + "/log"
		log := openLog(t, path, 0)
		_, _ = log.Write([]byte(text))
		for n, want := range want {
			r := openReader(t, path)
			if err := r.SeekLines(n, log.Size()); err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != want {
				t.Errorf("last %d lines of %d bytes: %d bytes %.20q, %v", n, len(text), len(got), got, err)
			}
		}
	}
}

func TestTimes(t *testing.T) {
	path := t.TempDir() + "/log"
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	when := func(i int) time.Time { return noon.Add(time.Duration(i) * time.Second) }
	for i := range 100 { // each in a run of its own, over several rotations
		log := openLog(t, path, smallLog)
		log.now = func() time.Time { return when(i) }
		_, _ = log.Write(bytes.Repeat([]byte{byte(i)}, 1000))
		log.Close()
	}
	r := openReader(t, path)
	start := r.Pos()
	if start == 0 || start > 60_000 {
		t.Fatalf("begins at %d", start)
	}
	for pos := start; pos < 100_000; pos += 500 {
		if got, want := r.Time(pos), when(int(pos/1000)); !got.Equal(want) {
			t.Fatalf("byte %d was written at %v; want %v", pos, got, want)
		}
	}
	for i, want := range map[int]int64{97: 97_000, 99: 99_000, 0: start} {
		r := openReader(t, path)
		if r.SeekTime(when(i), 100_000); r.Pos() != want {
			t.Errorf("since %d s: position %d; want %d", i, r.Pos(), want)
		}
	}
	r.SeekTime(noon.Add(time.Hour), 100_000)
	if got, err := io.ReadAll(r); err != nil || len(got) != 0 {
		t.Errorf("since later: %d bytes, %v", len(got), err)
	}
}

// TestTornTimes has what a power cut may leave of the index.
func TestTornTimes(t *testing.T) {
	whole := stamp{at: 0, time: time.Unix(1000, 0)}.encode()
	for name, data := range map[string][]byte{
		"half a stamp":             append(bytes.Clone(whole), whole[:7]...),
		"zeros":                    append(bytes.Clone(whole), make([]byte, 50)...),
		"of output that is gone":   append(bytes.Clone(whole), stamp{at: 999, time: time.Unix(2000, 0)}.encode()...),
		"nothing but half a stamp": whole[:9],
		"none":                     nil,
	} {
		t.Run(name, func(t *testing.T) {
			path := t.TempDir() + "/log"
			if err := errors.Join(os.WriteFile(path, []byte("old\n"), 0o600), os.WriteFile(timesOf(path), data, 0o600)); err != nil {
				t.Fatal(err)
			}
			before := time.Now().Add(-time.Second)
			log := openLog(t, path, smallLog)
			_, _ = log.Write([]byte("new\n"))
			r := openReader(t, path)
			if got := r.Time(5); got.Before(before) || got.After(time.Now()) {
				t.Errorf("the new output is of %v", got)
			}
			if got := r.Time(1); !got.IsZero() && !got.Equal(time.Unix(1000, 0)) {
				t.Errorf("the old output is of %v", got)
			}
			if info, err := os.Stat(timesOf(path)); err != nil || info.Size()%stampSize != 0 {
				t.Error(info.Size(), err)
			}
			if got, err := io.ReadAll(r); err != nil || string(got) != "old\nnew\n" {
				t.Errorf("%q, %v", got, err)
			}
		})
	}
}

// TestCutSegment: the file that was set aside is shorter than it was, after a power cut.
func TestCutSegment(t *testing.T) {
	path := t.TempDir() + "/log"
	log := openLog(t, path, smallLog)
	all := random(smallLog / 2)
	_, _ = log.Write(all)
	log.Close()
	set, err := listSegments(path)
	if err != nil || len(set) == 0 {
		t.Fatal(set, err)
	}
	end := set[0].end
	if err := os.Truncate(set[0].name(path), end-100); err != nil {
		t.Fatal(err)
	}
	r := openReader(t, path)
	got, err := io.ReadAll(r)
	if want := append(bytes.Clone(all[:end-100]), all[end:]...); err != nil || !bytes.Equal(got, want) || r.Skipped() != 100 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

func TestParseSegment(t *testing.T) {
	for text, want := range map[string]bool{"0-10": true, "10-10": true, "10-9": false, "-1-3": false, "01-3": false, "1": false,
		"0-10.times": false, "times": false, "": false, "1-99999999999999999999": false} {
		if s, ok := parseSegment(text); ok != want {
			t.Errorf("%q gave %v, %v", text, s, ok)
		}
	}
}

func FuzzParseStamps(f *testing.F) {
	f.Add(stamp{at: 5, time: time.Unix(1, 0)}.encode(), "0-10")
	f.Fuzz(func(t *testing.T, data []byte, name string) {
		var last int64
		for _, s := range parseStamps(data) {
			if s.at < last || s.time.IsZero() {
				t.Errorf("%v after %d", s, last)
			}
			last = s.at
		}
		if s, ok := parseSegment(name); ok && s.end < s.base {
			t.Errorf("%q gave %v", name, s)
		}
	})
}
