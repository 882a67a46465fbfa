// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestCell(t *testing.T) {
	child := exec.Command("sleep", "1000")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = child.Process.Kill(), child.Wait() }()
	pid, name := child.Process.Pid, fmt.Sprintf("firmwared-test-cell-%d", os.Getpid())
	before, err := legacyGroupsOf(pid)
	if err != nil {
		t.Fatal(err)
	}
	if len(before) == 0 {
		t.Log("cgroup2 alone is here: nothing is to be done")
	}
	for tree, dir := range before {
		neighbour := fmt.Sprintf("%s/firmwared-test-neighbour-%d", dir, os.Getpid())
		if err := os.Mkdir(neighbour, 0o755); err != nil {
			t.Fatalf("%s: %v", tree, err)
		}
		defer os.Remove(neighbour)
	}
	for range 2 { // the second time there are neighbours no more
		if err := EnterCell(pid, name); err != nil {
			t.Fatal(err)
		}
		now, err := legacyGroupsOf(pid)
		if err != nil {
			t.Fatal(err)
		}
		for tree := range before {
			if cell := filepath.Join(tree, name); now[tree] != cell {
				t.Errorf("is in %s, not in %s", now[tree], cell)
			}
		}
	}
	beside := exec.Command("sleep", "1000")
	if err := beside.Start(); err != nil {
		t.Fatal(err)
	}
	if err := EnterCellAs(beside.Process.Pid, pid, name); err != nil {
		t.Error(err)
	}
	if now, err := legacyGroupsOf(beside.Process.Pid); err != nil || len(now) != len(before) {
		t.Error(now, err)
	} else {
		for tree, dir := range now {
			if dir != filepath.Join(tree, name) {
				t.Errorf("the other is in %s", dir)
			}
		}
	}
	_, _ = beside.Process.Kill(), beside.Wait()
	RemoveCell(name) // not while somebody is in it
	gone := func(want bool) {
		t.Helper()
		for tree := range before {
			if _, err := os.Stat(filepath.Join(tree, name)); os.IsNotExist(err) != want {
				t.Errorf("%s: %v", tree, err)
			}
		}
	}
	gone(false)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait()
	RemoveCell(name)
	gone(true)
}
