// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox/sandboxtest"
)

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

// TestRaiseNet: who starts is given the namespace before anything runs in it, under a supervisor of its own and without.
func TestRaiseNet(t *testing.T) {
	for _, detached := range []bool{true, false} {
		spec := shell(t, sandboxtest.Root(t), `echo "address $ADDRESS $(readlink /proc/self/ns/net)"`)
		var own uint64
		spec.RaiseNet = func(namespace *os.File) ([]string, error) {
			var st unix.Stat_t
			err := unix.Fstat(int(namespace.Fd()), &st)
			own = st.Ino
			return []string{"ADDRESS=10.0.0.2"}, err
		}
		var out bytes.Buffer
		if detached {
			launch1(t, spec)
			if _, err := Wait(testContext(t), spec.Dir); err != nil {
				t.Error(err)
			}
			log, _ := os.ReadFile(spec.Log)
			out.Write(log)
		} else if _, err := Run(testContext(t), spec, Streams{Out: &out}); err != nil {
			t.Error(err)
		}
		if own == 0 || own == inode(t, "/proc/self/ns/net") {
			t.Errorf("namespace %d", own)
		}
		if want := fmt.Sprintf("address 10.0.0.2 net:[%d]", own); !strings.HasPrefix(out.String(), want) {
			t.Errorf("output %q, want %q", out.String(), want)
		}
		checkNothingLeft(t, spec)
	}
}

// TestRaiseNetFails: then nothing ever ran.
func TestRaiseNetFails(t *testing.T) {
	for _, detached := range []bool{true, false} {
		spec := shell(t, sandboxtest.Root(t), "echo ran")
		refused := errors.New("no network today")
		spec.RaiseNet = func(*os.File) ([]string, error) { return nil, refused }
		var err error
		if detached {
			_, err = Launch(testContext(t), spec)
		} else {
			_, err = Run(testContext(t), spec, Streams{})
		}
		if !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
		if log, _ := os.ReadFile(spec.Log); len(log) > 0 {
			t.Errorf("it ran: %q", log)
		}
		checkNothingLeft(t, spec)
	}
}

func TestRaiseNetBelievesItsOwnChildOnly(t *testing.T) {
	_, err := raiseNet(func(*os.File) ([]string, error) { return nil, nil }, 1, os.Getpid())
	if err == nil {
		t.Error("process 1 was taken for the init stage")
	}
}
