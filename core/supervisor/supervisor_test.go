// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/sandbox"
	"firmwared/core/sandbox/sandboxtest"
)

// TestMain is the binary's dispatch: the package runs the test binary as
// supervisor and as init stage.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case SuperviseArg:
			Main()
		case sandbox.InitArg:
			sandbox.Main()
		}
	}
	code := m.Run()
	// The last supervisors are ending; a race build sleeps a second first.
	ctx, cancel := context.WithTimeout(context.Background(), sandboxtest.Limit)
	defer cancel()
	group := cgroup.Open(testGroup())
	if err := errors.Join(group.WaitEmpty(ctx), group.Remove()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func testGroup() string { return fmt.Sprintf("fwtest-supervisor-%d", os.Getpid()) }

func testContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), sandboxtest.Limit)
	t.Cleanup(cancel)
	return ctx
}

var serial int

// shell is an instance with directories of its own, which must be gone or idle
// when the test ends.
func shell(t *testing.T, root, script string) Spec {
	t.Helper()
	serial++
	dir := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	spec := Spec{
		ID: fmt.Sprintf("%012x", serial), Name: fmt.Sprintf("test_%d", serial), Dir: dir, Log: dir + ".log",
		Sandbox: sandbox.Spec{Root: root, Args: []string{"/bin/sh", "-c", script}},
		Cgroup:  []string{testGroup(), fmt.Sprintf("%012x", serial)},
	}
	t.Cleanup(func() {
		if err := Kill(context.Background(), dir, unix.SIGKILL, 0); err != nil {
			t.Error(err)
		}
		checkNothingLeft(t, spec)
	})
	return spec
}

func withTerminal(spec Spec) Spec {
	spec.Sandbox.Terminal, spec.Sandbox.Rows, spec.Sandbox.Cols = true, 25, 80
	return spec
}

func checkNothingLeft(t *testing.T, spec Spec) {
	t.Helper()
	if held, err := lockHeld(spec.Dir); held || err != nil {
		t.Errorf("lock: %v %v", held, err)
	}
	if _, err := os.Lstat(filepath.Join(spec.Dir, socketFile)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("socket: %v", err)
	}
	if _, err := os.Stat(cgroup.Open(spec.Cgroup...).Path()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("cgroup: %v", err)
	}
}

func launch1(t *testing.T, spec Spec) Status {
	t.Helper()
	status, err := Launch(testContext(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	return status
}

func awaitLog(t *testing.T, spec Spec, text string) {
	t.Helper()
	sandboxtest.Poll(t, "log of "+text, func() bool {
		log, _ := os.ReadFile(spec.Log)
		return bytes.Contains(log, []byte(text))
	})
}

func processGone(pid int) bool {
	return errors.Is(unix.Kill(pid, 0), unix.ESRCH)
}

func TestLaunchAndWait(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "echo first byte; stty size; read x; exit 7"))
	status := launch1(t, spec)
	if status.State != StateStarted || status.PID == 0 || status.SupervisorPID == os.Getpid() || status.PIDStart == 0 {
		t.Errorf("%+v", status)
	}
	read, err := Read(spec.Dir)
	if err != nil || !read.Alive() || read.PID != status.PID || read.Exit != nil {
		t.Errorf("%+v %v", read, err)
	}
	if _, err := Launch(testContext(t), spec); !errors.Is(err, ErrRunning) {
		t.Errorf("a second start: %v", err)
	}
	sid, err := unix.Getsid(status.SupervisorPID)
	if err != nil || sid != status.SupervisorPID {
		t.Errorf("session %d of supervisor %d: %v", sid, status.SupervisorPID, err)
	}
	where, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", status.SupervisorPID))
	if err != nil || !bytes.Contains(where, []byte("/"+testGroup()+"/"+supervisorsGroup)) {
		t.Errorf("supervisor's cgroup: %s %v", where, err)
	}
	awaitLog(t, spec, "25 80")
	result, err := Attach(testContext(t), spec.Dir, AttachOptions{In: pipeOf(t, "\r"), Out: &bytes.Buffer{}})
	if err != nil || result.Exit == nil || result.Exit.Code != 7 {
		t.Errorf("%+v %v", result, err)
	}
	for range 2 {
		exit, err := Wait(testContext(t), spec.Dir)
		if err != nil || exit.Code != 7 || exit.At.IsZero() {
			t.Errorf("%+v %v", exit, err)
		}
	}
	if log, err := os.ReadFile(spec.Log); err != nil || !bytes.HasPrefix(log, []byte("first byte\r\n25 80\r\n")) {
		t.Errorf("log %q %v", log, err)
	}
	if read, err := Read(spec.Dir); err != nil || read.State != StateDead || read.Exit.Code != 7 {
		t.Errorf("%+v %v", read, err)
	}
	// And once more, in the same directory.
	spec.Sandbox.Args = []string{"/bin/true"}
	launch1(t, spec)
	if exit, err := Wait(testContext(t), spec.Dir); err != nil || exit.Status() != 0 {
		t.Errorf("%+v %v", exit, err)
	}
}

// pipeOf is a file to read text from, and then nothing for ever.
func pipeOf(t *testing.T, text string) *os.File {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		w.Close()
	})
	if _, err := w.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestFailedLaunchLeavesNothing(t *testing.T) {
	root := sandboxtest.Root(t)
	for _, c := range []struct {
		change func(*Spec)
		check  func(error) bool
	}{
		{func(s *Spec) { s.Sandbox.Args = []string{"/nosuch"} }, func(err error) bool {
			var e *sandbox.ExecError
			return errors.As(err, &e) && e.Status() == 127
		}},
		{func(s *Spec) { s.Sandbox.Cwd = "/nosuch" }, func(err error) bool {
			var e *sandbox.StageError
			return errors.As(err, &e) && e.Object == "/nosuch" && errors.Is(err, unix.ENOENT)
		}},
		{func(s *Spec) { s.Log = "/nosuch/log" }, func(err error) bool { return errors.Is(err, unix.ENOENT) }},
		{func(s *Spec) { s.Cgroup = s.Cgroup[:1] }, func(err error) bool { return strings.Contains(err.Error(), "parent") }},
		{func(s *Spec) { s.Dir = "relative" }, func(err error) bool { return strings.Contains(err.Error(), "absolute") }},
	} {
		good := shell(t, root, "true")
		spec := good
		c.change(&spec)
		if _, err := Launch(testContext(t), spec); err == nil || !c.check(err) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%v", err)
		}
		if h, err := Begin(testContext(t), spec, Streams{}); err == nil || !c.check(err) {
			t.Errorf("%v %v", h, err)
		}
		if status, err := Read(good.Dir); err != nil || status.State != "" {
			t.Errorf("%+v %v", status, err)
		}
		checkNothingLeft(t, good)
	}
	cancelled, cancel := context.WithCancel(context.Background())
	cancel()
	spec := shell(t, root, "true")
	if _, err := Launch(cancelled, spec); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	checkNothingLeft(t, spec)
}

func TestKill(t *testing.T) {
	root := sandboxtest.Root(t)
	for _, c := range []struct {
		name, script string
		signal       unix.Signal
		timeout      time.Duration
		status       int
	}{
		{"at once", "trap '' TERM; echo up; (setsid sleep 600 &) ; sleep 600", 0, 0, 137},
		{"gently", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.01; done", unix.SIGTERM, sandboxtest.Limit, 5},
		{"default action", "echo up; exec sleep 600", unix.SIGTERM, sandboxtest.Limit, 143},
		{"in vain", "trap '' TERM; echo up; while :; do sleep 600; done", unix.SIGTERM, 50 * time.Millisecond, 137},
		{"fork bomb", "echo up; f() { f | f & }; f; sleep 600", 0, 0, 137},
	} {
		t.Run(c.name, func(t *testing.T) {
			spec := withTerminal(shell(t, root, c.script))
			status := launch1(t, spec)
			awaitLog(t, spec, "up")
			if err := Kill(testContext(t), spec.Dir, c.signal, c.timeout); err != nil {
				t.Fatal(err)
			}
			read, err := Read(spec.Dir)
			if err != nil || read.Alive() || read.Exit == nil || read.Exit.Status() != c.status {
				t.Errorf("%+v %v, want %d", read, err, c.status)
			}
			if !processGone(status.PID) {
				t.Error("pid 1 is still there")
			}
			checkNothingLeft(t, spec)
		})
	}
}

func TestKillRightAfterTheStart(t *testing.T) {
	root := sandboxtest.Root(t)
	for delay := time.Duration(0); delay < 12*time.Millisecond; delay += 500 * time.Microsecond {
		spec := shell(t, root, "sleep 600")
		launched := make(chan error, 1)
		go func() {
			_, err := Launch(testContext(t), spec)
			launched <- err
		}()
		time.Sleep(delay)
		if err := Kill(testContext(t), spec.Dir, 0, 0); err != nil {
			t.Fatalf("after %v: %v", delay, err)
		}
		if err := <-launched; err != nil {
			// Killed while it was starting.
			checkNothingLeft(t, spec)
			continue
		}
		// Kill may have come before there was anything.
		if err := Kill(testContext(t), spec.Dir, 0, 0); err != nil {
			t.Fatal(err)
		}
		checkNothingLeft(t, spec)
	}
}

func TestKillOfNothing(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{dir, dir + "/nosuch"} {
		if err := Kill(testContext(t), path, 0, 0); err != nil {
			t.Error(err)
		}
		if _, err := Wait(testContext(t), path); !errors.Is(err, ErrNotRunning) {
			t.Error(err)
		}
		if err := Signal(testContext(t), path, unix.SIGTERM); !errors.Is(err, ErrNotRunning) {
			t.Error(err)
		}
		if _, err := Attach(testContext(t), path, AttachOptions{}); !errors.Is(err, ErrNotRunning) {
			t.Error(err)
		}
	}
}

func TestSignalAndInfo(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "trap 'echo usr1; exit 3' USR1; echo up; while :; do sleep 0.01; done")
	launch1(t, spec)
	awaitLog(t, spec, "up")
	if status, err := Info(testContext(t), spec.Dir); err != nil || status.State != StateStarted {
		t.Errorf("%+v %v", status, err)
	}
	if err := Signal(testContext(t), spec.Dir, unix.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	if exit, err := Wait(testContext(t), spec.Dir); err != nil || exit.Code != 3 {
		t.Errorf("%+v %v", exit, err)
	}
	awaitLog(t, spec, "usr1")
}

func TestSupervisorKilled(t *testing.T) {
	root := sandboxtest.Root(t)
	for _, stopped := range []bool{false, true} {
		spec := withTerminal(shell(t, root, "echo up; sleep 600"))
		status := launch1(t, spec)
		if stopped {
			// One that does not answer is killed by Kill itself.
			if err := unix.Kill(status.SupervisorPID, unix.SIGSTOP); err != nil {
				t.Fatal(err)
			}
		} else {
			if err := unix.Kill(status.SupervisorPID, unix.SIGKILL); err != nil {
				t.Fatal(err)
			}
			sandboxtest.Poll(t, "death of pid 1", func() bool { return processGone(status.PID) })
			sandboxtest.Poll(t, "free lock", func() bool {
				read, err := Read(spec.Dir)
				return err == nil && !read.Alive()
			})
		}
		if err := Kill(testContext(t), spec.Dir, unix.SIGTERM, time.Second); err != nil {
			t.Fatal(err)
		}
		if exit, err := Wait(testContext(t), spec.Dir); err != nil || exit.Reason != ReasonLost || exit.Status() != 137 {
			t.Errorf("%+v %v", exit, err)
		}
		checkNothingLeft(t, spec)
		spec.Sandbox.Args = []string{"/bin/true"}
		launch1(t, spec)
	}
}

// A pid 1 that refuses to die with its supervisor is ended by whoever comes
// next.
func TestPidOneThatOutlivesItsSupervisor(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "sleep 600")
	status := launch1(t, spec)
	// Stands for prctl(PR_SET_PDEATHSIG, 0): another process in the cgroup.
	group := cgroup.Open(append(spec.Cgroup, payloadGroup)...)
	spawned, err := sandbox.Start(testContext(t), sandbox.Spec{
		Root: spec.Sandbox.Root, Args: []string{"sleep", "600"}, Cgroup: append(spec.Cgroup, payloadGroup),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer spawned.Close()
	if err := unix.Kill(status.SupervisorPID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	sandboxtest.Poll(t, "death of pid 1", func() bool { return processGone(status.PID) })
	sandboxtest.Poll(t, "free lock", func() bool {
		read, err := Read(spec.Dir)
		return err == nil && !read.Alive()
	})
	if populated, err := group.Populated(); err != nil || !populated {
		t.Fatalf("%v %v", populated, err)
	}
	if err := Clean(testContext(t), spec.Dir); err != nil {
		t.Error(err)
	}
	if exit := spawned.Wait(); exit.Signal != int(unix.SIGKILL) {
		t.Errorf("%+v", exit)
	}
	checkNothingLeft(t, spec)
}

func TestSupervisorTold(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "trap 'exit 6' TERM; echo up; while :; do sleep 0.01; done")
	status := launch1(t, spec)
	awaitLog(t, spec, "up")
	for _, sig := range []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGTERM} {
		if err := unix.Kill(status.SupervisorPID, sig); err != nil {
			t.Fatal(err)
		}
	}
	if exit, err := Wait(testContext(t), spec.Dir); err != nil || exit.Code != 6 {
		t.Errorf("%+v %v", exit, err)
	}
}
