// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox"
)

func TestReadOfNothing(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, dir + "/nosuch"} {
		if status, err := Read(path); err != nil || status.State != "" || status.Alive() {
			t.Errorf("%+v %v", status, err)
		}
	}
}

func TestReadTellsTheTruth(t *testing.T) {
	boot, err := bootID()
	if err != nil {
		t.Fatal(err)
	}
	exit := &Exit{Exit: sandbox.Exit{Code: 3, Reason: sandbox.ReasonExited}, At: time.Now()}
	for _, c := range []struct {
		name   string
		file   Status
		locked bool
		want   State
	}{
		{"running", Status{BootID: boot, State: StateStarted}, true, StateStarted},
		{"killed", Status{BootID: boot, State: StateStarted}, false, StateDead},
		{"killed early", Status{BootID: boot, State: StateStarting}, false, StateDead},
		{"ended", Status{BootID: boot, State: StateDead, Exit: exit}, false, StateDead},
		{"ending", Status{BootID: boot, State: StateDead, Exit: exit}, true, StateStopping},
		{"another boot", Status{BootID: "x", State: StateStarted}, false, ""},
		{"starting after another boot", Status{BootID: "x", State: StateStarted}, true, StateStarting},
	} {
		path := t.TempDir()
		dir, err := openDir(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.file.save(dir); err != nil {
			t.Fatal(err)
		}
		dir.Close()
		lock, err := takeLock(path)
		if err != nil {
			t.Fatal(err)
		}
		if !c.locked {
			lock.Close()
		}
		status, err := Read(path)
		if err != nil || status.State != c.want || (status.State == StateDead) != (status.Exit != nil && !status.Alive()) {
			t.Errorf("%s: %+v %v, want %q", c.name, status, err, c.want)
		}
		lock.Close()
	}
}

func TestReadOfABrokenFile(t *testing.T) {
	for _, text := range []string{"", "{", "null", "[]", "\x00\xff"} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, statusFile), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if status, err := Read(dir); err != nil || status.State != "" {
			t.Errorf("%q: %+v %v", text, status, err)
		}
	}
}

func TestLock(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	lock, err := takeLock(dir)
	if err != nil {
		t.Fatal(err)
	}
	if second, err := takeLock(dir); !errors.Is(err, ErrRunning) {
		t.Errorf("%v %v", second, err)
	}
	// The copy that a supervisor inherits keeps it.
	fd, err := unix.FcntlInt(lock.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	lock.Close()
	if held, err := lockHeld(dir); err != nil || !held {
		t.Errorf("%v %v", held, err)
	}
	unix.Close(fd)
	if held, err := lockHeld(dir); err != nil || held {
		t.Errorf("%v %v", held, err)
	}
}

func TestParseStartTime(t *testing.T) {
	stat := "12 (a) b ( c)) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20\n"
	if start, err := parseStartTime([]byte(stat)); err != nil || start != 4242 {
		t.Errorf("%d %v", start, err)
	}
	for _, text := range []string{"", "1 (x", "1 (x) S 1 2"} {
		if _, err := parseStartTime([]byte(text)); err == nil {
			t.Errorf("%q is understood", text)
		}
	}
	own, err := startTime(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openProcess(os.Getpid(), own+1); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("another process with our pid: %v", err)
	}
	fd, err := openProcess(os.Getpid(), own)
	if err != nil {
		t.Fatal(err)
	}
	unix.Close(fd)
}

func TestFrames(t *testing.T) {
	stream := appendFrame(nil, frameData, []byte("abc"))
	stream = appendFrame(stream, frameSize, sizePayload(7, 300))
	r, buf := bytes.NewReader(stream), []byte(nil)
	if kind, payload, err := readFrame(r, &buf); err != nil || kind != frameData || string(payload) != "abc" {
		t.Errorf("%c %q %v", kind, payload, err)
	}
	_, payload, err := readFrame(r, &buf)
	if rows, cols, ok := parseSize(payload); err != nil || !ok || rows != 7 || cols != 300 {
		t.Errorf("%d %d %v %v", rows, cols, ok, err)
	}
	if _, _, err := readFrame(r, &buf); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	huge := appendFrame(nil, frameData, make([]byte, frameLimit+1))
	if _, _, err := readFrame(bytes.NewReader(huge), &buf); err == nil {
		t.Error("a frame of any size is read")
	}
}

func TestSupervisorsOf(t *testing.T) {
	elem := append(make([]string, 0, 9), "a", "b", "c")
	if got := supervisorsOf(elem); len(got) != 3 || got[1] != "b" || got[2] != supervisorsGroup || elem[2] != "c" {
		t.Errorf("%v of %v", got, elem)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add(appendFrame(nil, frameData, []byte("abc")))
	f.Fuzz(func(t *testing.T, data []byte) {
		var buf []byte
		for r := bytes.NewReader(data); ; {
			kind, payload, err := readFrame(r, &buf)
			if err != nil {
				return
			}
			if again := appendFrame(nil, kind, payload); !bytes.Contains(data, again) {
				t.Fatalf("%q read from %q", again, data)
			}
		}
	})
}

func FuzzReadLine(f *testing.F) {
	f.Add([]byte("{\"op\":\"kill\",\"signal\":15}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var q request
		_ = readLine(bufio.NewReader(bytes.NewReader(data)), &q)
	})
}

func FuzzParseStartTime(f *testing.F) {
	f.Add([]byte("12 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4242 20\n"))
	f.Fuzz(func(t *testing.T, stat []byte) { _, _ = parseStartTime(stat) })
}
