// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox/sandboxtest"
)

func TestRunIsBinarySafe(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "tee() { cat; }; tee; echo done >&2; exit 4")
	data := make([]byte, 10<<20)
	rand.New(rand.NewSource(1)).Read(data)
	var out, messages bytes.Buffer
	exit, err := Run(testContext(t), spec, Streams{In: bytes.NewReader(data), Out: &out, Err: &messages})
	if err != nil || exit.Code != 4 {
		t.Errorf("%+v %v", exit, err)
	}
	if !bytes.Equal(out.Bytes(), data) || messages.String() != "done\n" {
		t.Errorf("%d bytes of %d came back, messages %q", out.Len(), len(data), messages.String())
	}
	log, err := os.ReadFile(spec.Log)
	// Where the message lies among the data is chance.
	if err != nil || !bytes.Equal(bytes.Replace(log, []byte("done\n"), nil, 1), data) {
		t.Errorf("the log has %d bytes: %v", len(log), err)
	}
	checkNothingLeft(t, spec)
}

func TestRunWithoutInput(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "cat; echo out; echo console >/dev/console; echo err >&2")
	var out, messages bytes.Buffer
	exit, err := Run(testContext(t), spec, Streams{Out: &out, Err: &messages})
	if err != nil || exit.Status() != 0 || out.String() != "out\n" {
		t.Errorf("%+v %v %q", exit, err, out.String())
	}
	for _, text := range []string{"console\n", "err\n"} {
		if !strings.Contains(messages.String(), text) {
			t.Errorf("messages %q without %q", messages.String(), text)
		}
	}
}

// An input that never ends must not keep a finished instance.
func TestRunEndsBeforeItsInput(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "head -c 3")
	var out bytes.Buffer
	exit, err := Run(testContext(t), spec, Streams{In: pipeOf(t, "abc"), Out: &out})
	if err != nil || exit.Status() != 0 || out.String() != "abc" {
		t.Errorf("%+v %v %q", exit, err, out.String())
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, unix.EPIPE }

// As in `run ... yes | head`.
func TestRunWithBrokenOutput(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "yes; exit 9")
	exit, err := Run(testContext(t), spec, Streams{Out: brokenWriter{}})
	if err != nil || exit.Code != 9 {
		t.Errorf("%+v %v", exit, err)
	}
}

// slowWriter stands for a reader that is slower than any limit of ours.
type slowWriter struct{ bytes.Buffer }

func (s *slowWriter) Write(p []byte) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return s.Buffer.Write(p)
}

func TestRunDrainsToASlowReader(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "dd if=/dev/zero bs=1M count=4 2>/dev/null | tr '\\0' x")
	var out slowWriter
	exit, err := Run(testContext(t), spec, Streams{Out: &out})
	if err != nil || exit.Status() != 0 || out.Len() != 4<<20 {
		t.Errorf("%+v %v %d", exit, err, out.Len())
	}
}

func TestHandle(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "trap 'exit 2' USR1; echo up; while :; do sleep 0.01; done")
	r, w := io.Pipe()
	h, err := Begin(testContext(t), spec, Streams{Out: w})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 3)); err != nil {
		t.Fatal(err)
	}
	if status, err := Read(spec.Dir); err != nil || status.PID != h.Status().PID || status.SupervisorPID != os.Getpid() {
		t.Errorf("%+v %v", status, err)
	}
	if err := h.Signal(unix.SIGUSR1); err != nil {
		t.Error(err)
	}
	if exit, err := h.Wait(); err != nil || exit.Code != 2 {
		t.Errorf("%+v %v", exit, err)
	}
	if err := h.Signal(unix.SIGUSR1); err != nil {
		t.Errorf("a signal to a dead one: %v", err)
	}
}

func TestRunIsKilledFromOutsideAndByContext(t *testing.T) {
	root := sandboxtest.Root(t)
	spec := shell(t, root, "sleep 600")
	h, err := Begin(testContext(t), spec, Streams{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Kill(testContext(t), spec.Dir, unix.SIGTERM, time.Second); err != nil {
		t.Error(err)
	}
	if exit, err := h.Wait(); err != nil || exit.Signal != int(unix.SIGTERM) && exit.Signal != int(unix.SIGKILL) {
		t.Errorf("%+v %v", exit, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(20*time.Millisecond, cancel)
	exit, err := Run(ctx, shell(t, root, "sleep 600"), Streams{})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%+v %v", exit, err)
	}
}
