// SPDX-License-Identifier: Apache-2.0

//go:build vm

package apparmor

import (
	"context"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
)

// A kernel with AppArmor takes the order by either way, and refuses a name that is
// not loaded. test/vm/walls.bats runs it there.
func TestEnterByEachPath(t *testing.T) {
	if err := Enforces(); err != nil {
		t.Fatal(err)
	}
	s := Store{Dir: t.TempDir()}
	p, err := Render("each", "profile @{profile} { file, }\n", Subject{Key: "each"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Load(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Remove(p.Name); err != nil {
			t.Error(err)
		}
	}()
	proc, err := os.Open("/proc")
	if err != nil {
		t.Fatal(err)
	}
	defer proc.Close()
	runtime.LockOSThread() // never unlocked: its next exec is bent
	for _, path := range attrPaths {
		attrPaths = []string{path}
		if err := EnterAtExec(int(proc.Fd()), "firmwared_none"); err == nil || !strings.Contains(err.Error(), "not loaded") {
			t.Errorf("%s: %v", path, err)
		}
		if err := EnterAtExec(int(proc.Fd()), p.Name); err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		// A child inherits the order.
		label, err := exec.Command("/bin/cat", "/proc/self/attr/current").Output()
		if err != nil || strings.TrimSpace(string(label)) != p.Name+" (enforce)" {
			t.Errorf("%s: label %q, %v", path, label, err)
		}
	}
}
