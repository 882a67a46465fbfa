// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"firmwared/core/cgroup"
)

// write makes an executable hook of a shell script.
func write(t testing.TB, dir, name, script string) string {
	t.Helper()
	path := filepath.Join(dir, name+Suffix)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

// made writes a hook "test" and finds it.
func made(t testing.TB, script string) Hook {
	t.Helper()
	dir := t.TempDir()
	write(t, dir, "test", script)
	h, err := Dirs{dir}.Find("test")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// testRunner is quick to give up, and checks at the test's end that no leaf is left.
func testRunner(t testing.TB) *Runner {
	t.Helper()
	if _, err := cgroup.Root(); err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(t.TempDir(), "/")
	name := fmt.Sprintf("firmwared-test-%d-%s", os.Getpid(), parts[len(parts)-2])
	r := &Runner{Lib: "/usr/libexec/firmwared/hooks", Cgroup: []string{name, "hooks"}, grace: 200 * time.Millisecond}
	t.Cleanup(func() {
		if left, err := r.leaves(); err != nil || len(left) > 0 {
			t.Errorf("leaves %v remain, %v", left, err)
		}
		top := cgroup.Open(name)
		_ = top.Kill()
		if err := top.Remove(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// bothWays runs a test with cgroups and with the fallback.
func bothWays(t *testing.T, f func(t *testing.T, r *Runner)) {
	t.Helper()
	for name, noGroups := range map[string]bool{"cgroup": false, "session": true} {
		t.Run(name, func(t *testing.T) {
			r := testRunner(t)
			r.noGroups = noGroups
			f(t, r)
		})
	}
}

func limited(d time.Duration) func(string, string) time.Duration {
	return func(string, string) time.Duration { return d }
}

// lowerVars are the variables of a lower mount, all but the Runner's own.
func lowerVars() map[string]string {
	return map[string]string{
		VarFirmware: "/home/dev/my firmware/final",
		VarRO:       "/var/lib/firmwared/lowers/0123456789ab/1/ro",
		VarID:       "0123456789ab",
		VarName:     "foo",
		VarState:    "/run/firmwared/lowers/0123456789ab.1/state",
		VarLabel:    "firmwared_0123456789ab",
	}
}

func unionVars() map[string]string {
	return map[string]string{
		VarLowerDir:    "/run/f/a:/run/f/b",
		VarRW:          "/var/lib/firmwared/workspaces/0123456789ab/rw",
		VarWorkDir:     "/var/lib/firmwared/workspaces/0123456789ab/workdir",
		VarUnion:       "/var/lib/firmwared/workspaces/0123456789ab/union",
		VarID:          "0123456789ab",
		VarName:        "bar",
		VarState:       "/run/firmwared/instances/0123456789ab/state",
		VarLabel:       "firmwared_0123456789ab",
		VarConfinement: "none",
	}
}

func mountCall(h Hook) Call {
	return Call{Hook: h, Action: ActionMount, Layer: LayerLower, Object: "firmware foo", Vars: lowerVars()}
}

// poll waits until something holds.
func poll(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// pidIn reads a pid that a script wrote.
func pidIn(t testing.TB, path string) int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func alive(pid int) bool {
	_, ok := startTime(pid)
	return ok
}
