// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestFailureTravels(t *testing.T) {
	for _, err := range []error{
		&ExecError{Path: "/bin/x", NotFound: true, Err: errors.New("gone")},
		&ExecError{Path: "/bin/x", Err: unix.EACCES},
		&StageError{Step: "mount proc on", Object: "/proc", Err: unix.ENOSPC},
		errors.New("something else"),
	} {
		data, jsonErr := json.Marshal(PackError(err))
		if jsonErr != nil {
			t.Fatal(jsonErr)
		}
		var f Failure
		if jsonErr := json.Unmarshal(data, &f); jsonErr != nil {
			t.Fatal(jsonErr)
		}
		back := f.Err()
		if back.Error() != err.Error() {
			t.Errorf("%q became %q", err, back)
		}
		for _, errno := range []syscall.Errno{unix.EACCES, unix.ENOSPC} {
			if errors.Is(err, errno) != errors.Is(back, errno) {
				t.Errorf("%v: errno %v is lost or new", err, errno)
			}
		}
		var a, b *ExecError
		if errors.As(err, &a) != errors.As(back, &b) || a != nil && a.Status() != b.Status() {
			t.Errorf("%v: type is lost", err)
		}
	}
}

func TestValidate(t *testing.T) {
	good := Spec{Root: "/r", Args: []string{"x"}}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for text, change := range map[string]func(*Spec){
		"no program":       func(s *Spec) { s.Args = nil },
		"root":             func(s *Spec) { s.Root = "r" },
		"working dir":      func(s *Spec) { s.Cwd = "tmp" },
		"api mounts":       func(s *Spec) { s.APIMounts = "some" },
		"net \"bridge\"":   func(s *Spec) { s.Net = "bridge" },
		"not NAME=VALUE":   func(s *Spec) { s.Env = []string{"=x"} },
		"zero byte":        func(s *Spec) { s.Args = []string{"a\x00b"} },
		"longer than 64":   func(s *Spec) { s.Hostname = strings.Repeat("h", 65) },
		"the root is":      func(s *Spec) { s.Binds = []Bind{{Source: "/a", Target: "/./"}} },
		"must be absolute": func(s *Spec) { s.Binds = []Bind{{Source: "/a", Target: "b"}} },
	} {
		spec := good
		change(&spec)
		if err := spec.Validate(); err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v, want %q", err, text)
		}
	}
}

func TestHandled(t *testing.T) {
	status := []byte("Name:\tx\nSigBlk:\t0000000000000001\nSigIgn:\t0000000000001000\nSigCgt:\t8000000000000002\n")
	for sig, want := range map[syscall.Signal]bool{1: true, 2: true, 3: false, 13: true, 15: false, 63: false, 64: true} {
		if handled(status, sig) != want {
			t.Errorf("signal %d: %v", sig, !want)
		}
	}
	// What cannot be understood is sent as it is.
	if !handled([]byte("SigBlk:\tzz\n"), 15) {
		t.Error("a broken mask counts as dropped")
	}
}

func TestMergeEnv(t *testing.T) {
	got := mergeEnv([]string{"A=1", "B=2"}, []string{"B=3=4", "C=", "C=5"})
	if want := []string{"A=1", "B=3=4", "C=5"}; !reflect.DeepEqual(got, want) {
		t.Errorf("%q", got)
	}
	if v := lookupEnv(got, "B"); v != "3=4" {
		t.Errorf("%q", v)
	}
}

func FuzzHandled(f *testing.F) {
	f.Add([]byte("SigBlk:\t0000000000000000\nSigIgn:\t1\nSigCgt:\tffffffffffffffff\n"), 15)
	f.Fuzz(func(t *testing.T, status []byte, sig int) {
		if sig >= 1 && sig <= 64 {
			handled(status, syscall.Signal(sig))
		}
	})
}

func FuzzFindUser(f *testing.F) {
	f.Add("alice:staff", []byte("alice:x:1000:1001::/home/alice:/bin/sh\n"), []byte("staff:x:7:alice\n"))
	f.Fuzz(func(t *testing.T, name string, passwd, group []byte) {
		who, err := findUser(name, passwd, group)
		if err == nil && (who.uid < 0 || who.gid < 0 || !strings.HasPrefix(who.home, "/")) {
			t.Errorf("%q gives %+v", name, who)
		}
	})
}
