// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/supervisor"
)

// TestFreezeBySignals: as on a machine without cgroup2, where an instance's processes are those of its pid namespace.
// One that was stopped before stays so.
func TestFreezeBySignals(t *testing.T) {
	// In the background, a child that stops itself and one that forks all the time.
	cmd := exec.Command("/bin/sh", "-c", `sh -c 'kill -STOP $$; exec sleep 60' & while :; do /bin/true; done`)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	st := supervisor.Status{State: supervisor.StateStarted, PID: cmd.Process.Pid}
	var before []int
	until(t, "a stopped child", func() bool {
		before = nil
		for _, pid := range processesOf(st) {
			if state(pid) == 'T' {
				before = append(before, pid)
			}
		}
		return len(before) == 1
	})

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := freeze(ctx, st); err != nil {
		t.Fatal(err)
	}
	for _, pid := range processesOf(st) {
		if !stopped(pid) {
			t.Errorf("process %d is %c", pid, state(pid))
		}
	}
	if err := release(st, before); err != nil {
		t.Fatal(err)
	}
	until(t, "the thaw", func() bool { return state(st.PID) != 'T' })
	if got := state(before[0]); got != 'T' {
		t.Errorf("what was stopped before is %c", got)
	}
}

func state(pid int) byte {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(stat), ") ")
	return (rest + "-")[0]
}

func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no sign of %s", what)
		}
	}
}
