// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
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

// testGroup makes a group that is removed, with its processes, when the test ends.
func testGroup(t *testing.T) *Group {
	t.Helper()
	g, err := Make(fmt.Sprintf("firmwared-test-%d", os.Getpid()), strings.ReplaceAll(t.Name(), "/", "-"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := g.Kill(); err != nil {
			t.Error(err)
		}
		if err := g.Remove(); err != nil {
			t.Error(err)
		}
		if err := os.Remove(filepath.Dir(g.Path())); err != nil {
			t.Error(err)
		}
	})
	return g
}

// spawn runs a shell script in g and returns once the script has printed a line.
func spawn(t *testing.T, g *Group, script string) *exec.Cmd {
	t.Helper()
	dir, err := g.Dir()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := out.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return cmd
}

func shortly(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestFindRoot(t *testing.T) {
	if _, err := findRoot([]string{t.TempDir(), "/nonexistent"}); !errors.Is(err, ErrNone) {
		t.Errorf("a directory that is no cgroup2 gave %v", err)
	}
	dir, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(dir + "/cgroup.procs"); err != nil {
		t.Error(err)
	}
}

func TestNames(t *testing.T) {
	for _, bad := range []string{"", ".", "..", "a/b", "a\nb", "cgroup.procs", strings.Repeat("x", 256)} {
		if g, err := Make(bad); err == nil {
			t.Errorf("Make(%q) made %s", bad, g.Path())
		}
		if p := Open("x", bad).Path(); p != "" {
			t.Errorf("Open(%q) is %q", bad, p)
		}
		if err := Open(bad).Kill(); err == nil {
			t.Errorf("Kill of %q did not fail", bad)
		}
	}
	if _, err := Make(); err == nil {
		t.Error("Make() made the root")
	}
}

func TestAbsentGroupIsEmpty(t *testing.T) {
	g := Open("firmwared-test-absent", "leaf")
	if pids, err := g.Procs(); err != nil || pids != nil {
		t.Error(pids, err)
	}
	if p, err := g.Populated(); err != nil || p {
		t.Error(p, err)
	}
	if other, err := g.HasOther(1); err != nil || other {
		t.Error(other, err)
	}
	for name, f := range map[string]func() error{"Kill": g.Kill, "Remove": g.Remove,
		"WaitEmpty": func() error { return g.WaitEmpty(shortly(t)) }, "Signal": func() error { return g.Signal(syscall.SIGTERM) }} {
		if err := f(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// forking is a process group that ignores TERM and keeps making new processes in sessions of their own.
const forking = `trap '' TERM; echo ready; while :; do setsid sleep 100 & sleep 0.01; [ -e /nonexistent ] && break; done`

func TestKill(t *testing.T) {
	for name, kill := range map[string]func(*Group) error{"kernel": (*Group).Kill, "rounds": (*Group).killRounds} {
		t.Run(name, func(t *testing.T) {
			g := testGroup(t)
			sub, err := Make(filepath.Base(filepath.Dir(g.Path())), filepath.Base(g.Path()), "below")
			if err != nil {
				t.Fatal(err)
			}
			spawn(t, g, forking)
			cmd := spawn(t, sub, "echo ready; exec sleep 100")
			pids, err := g.Procs()
			if err != nil || len(pids) < 2 {
				t.Fatalf("processes %v, %v", pids, err)
			}
			if p, err := g.Populated(); err != nil || !p {
				t.Fatalf("populated %v, %v", p, err)
			}
			if err := kill(g); err != nil {
				t.Fatal(err)
			}
			if err := g.WaitEmpty(shortly(t)); err != nil {
				t.Fatal(err)
			}
			_ = cmd.Wait()
			if err := g.Remove(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(g.Path()); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("group still there: %v", err)
			}
			if err := g.Remove(); err != nil {
				t.Errorf("second removal: %v", err)
			}
		})
	}
}

func TestSignal(t *testing.T) {
	g := testGroup(t)
	cmd := spawn(t, g, `trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done`)
	if err := g.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if code := cmd.ProcessState.ExitCode(); code != 7 {
		t.Errorf("exit %d", code)
	}
	if err := g.WaitEmpty(shortly(t)); err != nil {
		t.Error(err)
	}
}

func TestWaitEmptyEndsWithContext(t *testing.T) {
	g := testGroup(t)
	spawn(t, g, "echo ready; exec sleep 100")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	start := time.Now()
	if err := g.WaitEmpty(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("took %v", took)
	}
	if err := g.Remove(); err == nil {
		t.Error("a group with a process was removed")
	}
}

// TestWaitEmptyWakes checks that the end of the last process is noticed at once, not at the next of some rounds.
func TestWaitEmptyWakes(t *testing.T) {
	g := testGroup(t)
	cmd := spawn(t, g, "echo ready; read x")
	done := make(chan error, 1)
	ctx := shortly(t)
	go func() { done <- g.WaitEmpty(ctx) }()
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestHasOther(t *testing.T) {
	g := testGroup(t)
	is := func(want bool, pid int, when string) {
		t.Helper()
		if other, err := g.HasOther(pid); err != nil || other != want {
			t.Errorf("%s: %v, %v", when, other, err)
		}
	}
	is(false, 1, "an empty group")
	first := spawn(t, g, "echo ready; exec sleep 100").Process.Pid
	is(false, first, "that process alone")
	is(true, 1, "another process alone")
	for range 20 {
		spawn(t, g, "echo ready; exec sleep 100")
	}
	is(true, first, "many others")
}

func TestOthersParse(t *testing.T) {
	for list, want := range map[string]bool{"": false, "12\n": false, "12\n3": false, "12\n3\n": true, "1\n": true, "123\n12\n": true, "12": false} {
		if got := others(list, 12); got != want {
			t.Errorf("%q gave %v", list, got)
		}
	}
}

func TestChildren(t *testing.T) {
	g := testGroup(t)
	base := []string{filepath.Base(filepath.Dir(g.Path())), filepath.Base(g.Path())}
	for _, name := range []string{"b", "a"} {
		if _, err := Make(append(base, name)...); err != nil {
			t.Fatal(err)
		}
	}
	names, err := g.Children()
	if err != nil || strings.Join(names, " ") != "a b" {
		t.Errorf("got %v, %v", names, err)
	}
	if p := g.Child("a").Path(); p != g.Path()+"/a" {
		t.Error(p)
	}
	if p := g.Child("../a").Path(); p != "" {
		t.Error(p)
	}
}

func TestPopulatedParse(t *testing.T) {
	for text, want := range map[string]bool{"populated 1\nfrozen 0\n": true, "populated 0\nfrozen 1\n": false,
		"frozen 0\npopulated 1\n": true, "": false} {
		if got := populated(text); got != want {
			t.Errorf("%q gave %v", text, got)
		}
	}
}
