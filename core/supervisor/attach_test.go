// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	tty "github.com/containerd/console"
	"golang.org/x/sys/unix"

	"firmwared/core/sandbox/sandboxtest"
)

// screen is what a viewer sees, for tests that wait for it.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) await(t *testing.T, text string) {
	t.Helper()
	sandboxtest.Poll(t, text+" on the screen, which shows "+s.String(), func() bool {
		return strings.Contains(s.String(), text)
	})
}

// terminal is a pty of the host, as a person's terminal.
func terminal(t *testing.T) (person tty.Console, in *os.File) {
	t.Helper()
	master, name, err := tty.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		slave.Close()
		master.Close()
	})
	if err := master.Resize(tty.WinSize{Height: 44, Width: 123}); err != nil {
		t.Fatal(err)
	}
	return master, slave
}

func TestAttachDetachAttach(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "echo hello; while read line; do stty size; echo got $line; done"))
	launch1(t, spec)
	person, in := terminal(t)
	before, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		var shown screen
		type answer struct {
			result AttachResult
			err    error
		}
		done := make(chan answer, 1)
		go func() {
			result, err := Attach(testContext(t), spec.Dir, AttachOptions{In: in, Out: &shown, DetachKeys: []byte{0x1d}})
			done <- answer{result, err}
		}()
		shown.await(t, "hello\r\n")
		typeKeys(t, person, "abc\r")
		shown.await(t, "got abc\r\n")
		shown.await(t, "44 123\r\n")
		typeKeys(t, person, "\x1d")
		a := <-done
		if a.err != nil || !a.result.Detached {
			t.Errorf("round %d: %+v %v", round, a.result, a.err)
		}
	}
	after, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil || *after != *before {
		t.Errorf("the terminal is not as it was: %v", err)
	}
	// No reader was left behind that would take the next key.
	typeKeys(t, person, "x\n")
	got := make([]byte, 2)
	if _, err := io.ReadFull(in, got); err != nil || string(got) != "x\n" {
		t.Errorf("%q %v", got, err)
	}
	if status, err := Read(spec.Dir); err != nil || !status.Alive() {
		t.Errorf("%+v %v", status, err)
	}
}

func typeKeys(t *testing.T, person tty.Console, keys string) {
	t.Helper()
	if _, err := person.Write([]byte(keys)); err != nil {
		t.Fatal(err)
	}
}

// The viewer that Launch brings along sees the first byte and the exit of a
// program that is over before anybody could attach.
func TestLaunchAttached(t *testing.T) {
	root := sandboxtest.Root(t)
	for range 20 {
		spec := withTerminal(shell(t, root, "echo all of it; exit 3"))
		_, session, err := LaunchAttached(testContext(t), spec)
		if err != nil {
			t.Fatal(err)
		}
		var shown screen
		result, err := session.Run(testContext(t), AttachOptions{Out: &shown})
		if err != nil || result.Exit == nil || result.Exit.Code != 3 || shown.String() != "all of it\r\n" {
			t.Fatalf("%+v %v %q", result, err, shown.String())
		}
	}
	spec := withTerminal(shell(t, root, "true"))
	spec.Sandbox.Args = []string{"/nosuch"}
	if _, session, err := LaunchAttached(testContext(t), spec); err == nil {
		session.Close()
		t.Error("no error")
	}
}

// What a program writes at full speed reaches a viewer that reads whole.
func TestLaunchAttachedIsComplete(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' x"))
	_, session, err := LaunchAttached(testContext(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	var shown screen
	result, err := session.Run(testContext(t), AttachOptions{Out: &shown, Skipped: func(n uint64) { t.Errorf("%d skipped", n) }})
	if err != nil || result.Exit == nil || len(shown.String()) != 8<<20 {
		t.Errorf("%+v %v %d", result, err, len(shown.String()))
	}
	if info, err := os.Stat(spec.Log); err != nil || info.Size() != 8<<20 {
		t.Errorf("the log has %v, %v", info.Size(), err)
	}
}

// A viewer that stops reading neither stalls pid 1 nor keeps the supervisor.
func TestStoppedViewer(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "read x; dd if=/dev/zero bs=1M count=8 2>/dev/null | tr '\\0' x; exit 8"))
	status := launch1(t, spec)
	conn, err := dial(testContext(t), spec.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := talk(testContext(t), conn, bufio.NewReader(conn), &request{Op: opAttach}); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(appendFrame(nil, frameData, []byte("\r"))); err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	exit, err := Wait(testContext(t), spec.Dir)
	if err != nil || exit.Code != 8 {
		t.Errorf("%+v %v", exit, err)
	}
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("took %v", took)
	}
	if info, err := os.Stat(spec.Log); err != nil || info.Size() < 8<<20 {
		t.Errorf("the log has %v, %v", info, err)
	}
	sandboxtest.Poll(t, "end of the supervisor", func() bool { return processGone(status.SupervisorPID) })
}

func TestResizeByClient(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.01; done"))
	launch1(t, spec)
	awaitLog(t, spec, "up")
	if err := Resize(testContext(t), spec.Dir, 55, 111); err != nil {
		t.Fatal(err)
	}
	awaitLog(t, spec, "55 111")
}

// With pipes, viewers watch and cannot type.
func TestAttachToRun(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "echo up; read x; echo got $x")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	h, err := Begin(testContext(t), spec, Streams{In: r})
	if err != nil {
		t.Fatal(err)
	}
	var shown screen
	if _, err := Attach(testContext(t), spec.Dir, AttachOptions{In: pipeOf(t, "no\n"), Out: &shown}); !errors.Is(err, ErrNoConsole) {
		t.Errorf("typing at pipes: %v", err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := Attach(testContext(t), spec.Dir, AttachOptions{Out: &shown})
		done <- err
	}()
	shown.await(t, "up\n")
	if _, err := w.WriteString("yes\n"); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
	if _, err := h.Wait(); err != nil || shown.String() != "up\ngot yes\n" {
		t.Errorf("%v %q", err, shown.String())
	}
}

func TestRubbishOnTheSocket(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "echo up; sleep 600"))
	launch1(t, spec)
	for _, text := range []string{"rubbish\n", "{}\n", "{\"op\":\"attach\"}\nzzzzzzzzzzzz", "{\"op\":\"kill\",\"signal\":", strings.Repeat("x", 2*lineLimit)} {
		conn, err := dial(testContext(t), spec.Dir)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(text))
		_ = conn.CloseWrite()
		drainConn(t, conn)
	}
	if status, err := Info(testContext(t), spec.Dir); err != nil || status.State != StateStarted {
		t.Errorf("%+v %v", status, err)
	}
}

func drainConn(t *testing.T, conn *net.UnixConn) {
	t.Helper()
	defer conn.Close()
	_ = conn.SetReadDeadline(time.Now().Add(sandboxtest.Limit))
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the supervisor does not hang up")
	}
}
