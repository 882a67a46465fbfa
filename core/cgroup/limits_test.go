// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// limited makes a group under limits that is removed when the test ends.
func limited(t *testing.T, l Limits) (*Group, []string) {
	t.Helper()
	g := testGroup(t)
	elem := []string{filepath.Base(filepath.Dir(g.Path())), filepath.Base(g.Path())}
	t.Cleanup(func() {
		if err := RemoveLegacy(elem...); err != nil {
			t.Error(err)
		}
		if left := legacyGroups(elem[:1]); left != nil {
			t.Errorf("left %v", left)
		}
	})
	if err := Limit(l, elem...); err != nil {
		t.Fatal(err)
	}
	return g, elem
}

func TestLimitsAreInForceAndCanBeChanged(t *testing.T) {
	all := Limits{Memory: 64 << 20, CPUQuota: 50_000, CPUPeriod: 100_000, Pids: 20}
	_, elem := limited(t, all)
	for _, want := range []Limits{all,
		{Memory: 128 << 20, CPUQuota: 200_000, CPUPeriod: 50_000, Pids: 10}, // more memory: swap must be relaxed first
		{Memory: 32 << 20}, {}, all} {
		if err := Limit(want, elem...); err != nil {
			t.Fatal(err)
		}
		if got := ReadUsage(elem...).Limits; got != want {
			t.Errorf("got %+v; want %+v", got, want)
		}
	}
}

// held runs a shell script in g and in elem's other groups; it begins once the caller sends a line. What it prints is
// read from out.
func held(t *testing.T, g *Group, elem []string, script string) (begin func(), out *bufio.Reader, cmd *exec.Cmd) {
	t.Helper()
	cmd = exec.Command("/bin/sh", "-c", "read go; "+script)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if err := errors.Join(g.Enter(cmd.Process.Pid), EnterLegacy(cmd.Process.Pid, elem...)); err != nil {
		t.Fatal(err)
	}
	return func() { _, _ = in.Write([]byte("go\n")) }, bufio.NewReader(stdout), cmd
}

func TestPidsAreLimitedAndCounted(t *testing.T) {
	g, elem := limited(t, Limits{Pids: 5})
	begin, out, _ := held(t, g, elem, `exec 2>&1; for i in 1 2 3 4 5 6 7 8; do sleep 60 & done`)
	u := ReadUsage(elem...)
	if u.Pids == nil || *u.Pids != 1 || u.CPU == nil {
		t.Errorf("usage of one process: %+v", u)
	}
	begin()
	// dash says so of the first fork that fails, and ends.
	if line, err := out.ReadString('\n'); err != nil || !strings.Contains(strings.ToLower(line), "fork") {
		t.Errorf("said %q, %v", line, err)
	}
	if u := ReadUsage(elem...); u.Pids == nil || *u.Pids > 5 || *u.Pids < 3 {
		t.Errorf("usage at the limit: %+v", u)
	}
}

func TestOutOfMemoryIsCounted(t *testing.T) {
	g, elem := limited(t, Limits{Memory: 16 << 20})
	begin, _, cmd := held(t, g, elem, `exec tail /dev/zero`)
	if u := ReadUsage(elem...); u.Memory == nil || u.OOMKills != 0 {
		t.Errorf("usage at the start: %+v", u)
	}
	begin()
	_ = cmd.Wait()
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if u := ReadUsage(elem...); u.OOMKills < 1 || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("%d kills were counted; %v", u.OOMKills, cmd.ProcessState)
	}
}

func TestRemoveLegacyEndsWhatIsLeft(t *testing.T) {
	g, elem := limited(t, Limits{Pids: 50})
	cmd := spawn(t, g, `echo ready; exec sleep 60`)
	if err := EnterLegacy(cmd.Process.Pid, elem...); err != nil {
		t.Fatal(err)
	}
	if h, err := hierarchyOf("pids"); err != nil || h.unified {
		return // nothing of it lies in cgroup1
	}
	go func() { _ = cmd.Wait() }()
	start := time.Now()
	if err := RemoveLegacy(elem...); err != nil {
		t.Fatal(err)
	}
	if left := legacyGroups(elem); left != nil || time.Since(start) > time.Second {
		t.Errorf("left %v after %v", left, time.Since(start))
	}
	if err := RemoveLegacy(elem...); err != nil {
		t.Errorf("second removal: %v", err)
	}
}

func TestMissingControllerIsNamed(t *testing.T) {
	_, err := hierarchyOf("nosuch")
	var missing *MissingController
	if !errors.As(err, &missing) || !strings.Contains(err.Error(), `"nosuch"`) {
		t.Error(err)
	}
	c := controller{name: "nosuch", wanted: func(l Limits) bool { return l.Pids > 0 }}
	if err := c.limit(Limits{}, []string{"x"}); err != nil {
		t.Errorf("not asked for: %v", err)
	}
	if err := c.limit(Limits{Pids: 1}, []string{"x"}); !errors.As(err, &missing) {
		t.Error(err)
	}
}

// TestUnifiedFiles checks what is written for cgroup2, on a directory that looks like a group of it.
func TestUnifiedFiles(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"memory.max", "cpu.max", "pids.max"} {
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := Limits{Memory: 1 << 20, CPUQuota: 5000, CPUPeriod: 10000, Pids: 3}
	want := map[string]string{"memory": "memory.max=1048576 memory.swap.max=0", "cpu": "cpu.max=5000 10000", "pids": "pids.max=3"}
	for _, c := range controllers {
		var got []string
		for _, k := range c.knobs(l, true) {
			got = append(got, k.file+"="+k.value)
		}
		if text := strings.Join(got, " "); text != want[c.name] {
			t.Errorf("%s: %s; want %s", c.name, text, want[c.name])
		}
		if err := write(dir, c.knobs(l, true)); err != nil { // memory.swap.max is missing, and may be
			t.Error(err)
		}
		if err := write(t.TempDir(), c.knobs(l, true)); err == nil || !strings.Contains(err.Error(), "this kernel has no") {
			t.Errorf("%s: missing files gave %v", c.name, err)
		}
	}
}

func TestEnableAsksEveryParent(t *testing.T) {
	root := t.TempDir()
	elem := []string{"a", "b", "c"}
	h := hierarchy{root, true}
	if err := os.MkdirAll(h.dir(elem), 0o755); err != nil {
		t.Fatal(err)
	}
	for depth := range elem {
		if err := os.WriteFile(h.dir(elem[:depth])+"/cgroup.subtree_control", nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.make("memory", elem); err != nil {
		t.Fatal(err)
	}
	for depth := range elem {
		data, err := os.ReadFile(h.dir(elem[:depth]) + "/cgroup.subtree_control")
		if err != nil || string(data) != "+memory" {
			t.Errorf("%v: %q, %v", elem[:depth], data, err)
		}
	}
	if _, err := os.Stat(h.dir(elem) + "/cgroup.subtree_control"); err == nil {
		t.Error("the group itself was asked to hand the controller down")
	}
}

func TestParsers(t *testing.T) {
	for text, want := range map[string][2]int64{"max 100000\n": {0, 0}, "5000 10000\n": {5000, 10000}, "": {0, 0}} {
		if q, p := parseCPUMax(text); q != want[0] || p != want[1] && want[0] != 0 {
			t.Errorf("parseCPUMax(%q) = %d, %d", text, q, p)
		}
	}
	for text, want := range map[string]string{"oom 3\noom_kill 2\n": "2 true", "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n": "5 true",
		"": "0 false", "oom_kill x\n": "0 false"} {
		n, ok := parseKeyed(text, "oom_kill")
		if got := fmt.Sprint(n, " ", ok); got != want {
			t.Errorf("parseKeyed(%q) = %s", text, got)
		}
	}
}

func FuzzParseUsage(f *testing.F) {
	f.Add("usage_usec 12\n")
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := parseKeyed(text, "usage_usec"); !ok && n != 0 && !strings.Contains(text, "usage_usec ") {
			t.Errorf("%q gave %d", text, n)
		}
		parseCPUMax(text)
	})
}
