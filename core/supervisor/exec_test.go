// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox"
	"firmwared/core/sandbox/sandboxtest"
)

func execScript(script string) sandbox.Spec {
	return sandbox.Spec{Root: "/", Args: []string{"/bin/sh", "-c", script}}
}

func TestExecStreamsAndStatus(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "echo up; sleep 600"))
	launch1(t, spec)
	in, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if _, err := w.WriteString("bytes"); err != nil {
		t.Fatal(err)
	}
	w.Close()
	var out, errText bytes.Buffer
	c, err := Exec(testContext(t), spec.Dir, execScript("cat; echo wrong >&2; sleep 600 & exit 9"),
		ExecOptions{In: in, Out: &out, Err: &errText})
	if err != nil {
		t.Fatal(err)
	}
	// A process in the background that holds the streams holds nobody up.
	began := time.Now()
	if exit := c.Wait(); exit.Status() != 9 || exit.InstanceEnded || time.Since(began) > 5*time.Second {
		t.Errorf("%+v after %v", exit, time.Since(began))
	}
	if out.String() != "bytes" || errText.String() != "wrong\n" {
		t.Errorf("%q %q", out.String(), errText.String())
	}
}

func TestExecEndsWithTheInstance(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "echo up; sleep 600"))
	launch1(t, spec)
	c, err := Exec(testContext(t), spec.Dir, execScript("sleep 600"), ExecOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := Kill(testContext(t), spec.Dir, unix.SIGKILL, 0); err != nil {
		t.Error(err)
	}
	if exit := c.Wait(); exit.Status() != 137 || !exit.InstanceEnded {
		t.Errorf("%+v", exit)
	}
	if _, err := Exec(testContext(t), spec.Dir, execScript("true"), ExecOptions{}); !errors.Is(err, ErrNotRunning) {
		t.Errorf("exec in a dead instance: %v", err)
	}
}

func TestExecIsKilledByTheThirdSignal(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "echo up; sleep 600"))
	launch1(t, spec)
	var shown screen
	c, err := Exec(testContext(t), spec.Dir, execScript("trap 'echo no' INT; echo deaf; while :; do sleep 1; done"), ExecOptions{Out: &shown})
	if err != nil {
		t.Fatal(err)
	}
	shown.await(t, "deaf\n")
	for range impatience {
		if err := c.Signal(unix.SIGINT); err != nil {
			t.Error(err)
		}
	}
	if exit := c.Wait(); exit.Status() != 137 || exit.InstanceEnded {
		t.Errorf("%+v", exit)
	}
}

func TestExecTerminal(t *testing.T) {
	spec := withTerminal(shell(t, sandboxtest.Root(t), "echo up; sleep 600"))
	launch1(t, spec)
	person, in := terminal(t)
	before, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	for keys, want := range map[string]int{"end\r": 5, "\x1d": 137} {
		var shown screen
		command := execScript("stty size; read x; echo got $x; exit 5")
		command.Terminal = true
		c, err := Exec(testContext(t), spec.Dir, command, ExecOptions{In: in, Out: &shown, DetachKeys: []byte{0x1d}})
		if err != nil {
			t.Fatal(err)
		}
		shown.await(t, "\r\n")
		typeKeys(t, person, keys)
		if exit := c.Wait(); exit.Status() != want {
			t.Errorf("%q: %+v", keys, exit)
		}
		after, err := unix.IoctlGetTermios(int(in.Fd()), unix.TCGETS)
		if err != nil || *after != *before {
			t.Errorf("%q: the terminal is not as it was: %v", keys, err)
		}
	}
}

// Who attaches to nothing, or enters it, is told so; nothing waits.
func TestExecBeforeTheFirstStart(t *testing.T) {
	if _, err := Exec(testContext(t), t.TempDir(), execScript("true"), ExecOptions{In: os.Stdin}); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
}
