// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox/sandboxtest"
)

func TestSignals(t *testing.T) {
	root := sandboxtest.Root(t)
	for _, c := range []struct {
		name, script string
		signal       unix.Signal
		want         Exit
	}{
		{"default action", "echo up; exec sleep 60", unix.SIGTERM, Exit{Signal: 15, Reason: ReasonSignal}},
		{"interrupt is no poweroff", "echo up; exec sleep 60", unix.SIGINT, Exit{Signal: 2, Reason: ReasonSignal}},
		{"real time", "echo up; exec sleep 60", unix.Signal(40), Exit{Signal: 40, Reason: ReasonSignal}},
		{"caught", "trap 'exit 9' TERM; echo up; while :; do sleep 0.01; done", unix.SIGTERM, Exit{Code: 9, Reason: ReasonExited}},
		{"kill", "trap '' TERM; echo up; sleep 60", unix.SIGKILL, Exit{Signal: 9, Reason: ReasonSignal}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := begin(t, shell(root, c.script))
			if err != nil {
				t.Fatal(err)
			}
			readUntil(t, p.Stdout, "up\n")
			if c.signal != unix.SIGKILL {
				awaitComm(t, p.Pid, c.script)
			}
			if err := p.Signal(c.signal); err != nil {
				t.Fatal(err)
			}
			if exit := waitFor(t, p); exit != c.want {
				t.Errorf("%+v, want %+v", exit, c.want)
			}
			if err := p.Signal(unix.SIGTERM); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("signal to a dead process: %v", err)
			}
		})
	}
	t.Run("ignored", func(t *testing.T) {
		p, err := begin(t, shell(root, "trap '' TERM; echo up; read x; exit 4"))
		if err != nil {
			t.Fatal(err)
		}
		readUntil(t, p.Stdout, "up\n")
		if err := p.Signal(unix.SIGTERM); err != nil {
			t.Fatal(err)
		}
		p.Stdin.Close()
		if exit := waitFor(t, p); exit.Code != 4 {
			t.Errorf("%+v", exit)
		}
	})
}

// awaitComm waits until the shell has become the sleep of its script, if it
// does: before that it has handlers of its own.
func awaitComm(t *testing.T, pid int, script string) {
	t.Helper()
	if !strings.Contains(script, "exec sleep") {
		return
	}
	sandboxtest.Poll(t, "exec of sleep", func() bool {
		comm, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		return strings.TrimSpace(string(comm)) == "sleep"
	})
}

func TestIgnoredSignalsAreReset(t *testing.T) {
	root := sandboxtest.Root(t)
	// The stage inherits what its parent ignores: nohup is such a parent.
	if os.Getenv("SANDBOX_TEST_NOHUP") == "" {
		cmd := exec.Command("nohup", testBinary(t), "-test.run=^TestIgnoredSignalsAreReset$")
		cmd.Env = append(os.Environ(), "SANDBOX_TEST_NOHUP=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	if got := says(t, Spec{Root: root, Args: []string{"grep", "^SigIgn", "/proc/self/status"}}); got != "SigIgn:\t0000000000000000" {
		t.Error(got)
	}
}
