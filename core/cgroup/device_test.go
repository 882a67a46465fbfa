// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseDevice(t *testing.T) {
	for text, want := range map[string]Device{
		"c:10:200":    {Major: 10, Minor: 200, Access: "rw"},
		"b:7:*:r":     {Block: true, Major: 7, Minor: AnyNumber, Access: "r"},
		"c:*:*:m":     {Major: AnyNumber, Minor: AnyNumber, Access: "m"},
		"c:4095:1:rw": {Major: 4095, Minor: 1, Access: "rw"},
	} {
		if have, err := ParseDevice(text); err != nil || have != want {
			t.Errorf("%q: %+v, %v", text, have, err)
		}
	}
	for _, text := range []string{"", "c", "c:1", "a:1:3", "c:1:3:x", "c:1:3:", "c:-1:3", "c:4096:3", "c:1:1048576", "c 1:3", "c:1:3:r:w"} {
		if have, err := ParseDevice(text); err == nil {
			t.Errorf("%q is taken as %v", text, have)
		}
	}
	if text := (Device{Block: true, Major: 8, Minor: AnyNumber, Access: "rwm"}).String(); text != "b 8:* rwm" {
		t.Errorf("%q", text)
	}
}

func FuzzParseDevice(f *testing.F) {
	f.Add("c:1:3:rwm")
	f.Fuzz(func(t *testing.T, text string) {
		d, err := ParseDevice(text)
		if err == nil && (d.Major < AnyNumber || d.Minor < AnyNumber || d.Access == "") {
			t.Errorf("%q gives %+v", text, d)
		}
	})
}

// TestAllowDevices asks the kernel, by the controller; devicefilter's test has eBPF.
func TestAllowDevices(t *testing.T) {
	if _, err := legacyDeviceDir([]string{"x"}); err != nil {
		t.Logf("no cgroup1 here: %v", err)
		return
	}
	disk := filepath.Join(t.TempDir(), "disk")
	if err := unix.Mknod(disk, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))); err != nil {
		t.Fatal(err)
	}
	list := []Device{
		{Major: 1, Minor: 3, Access: "rw"}, {Major: 1, Minor: 5, Access: "r"},
		{Major: AnyNumber, Minor: AnyNumber, Access: "m"}, {Block: true, Major: AnyNumber, Minor: AnyNumber, Access: "m"},
	}
	g := testGroup(t)
	elem := strings.Split(strings.TrimPrefix(g.Path(), rootOf(t)+"/"), "/")
	legacy, err := AllowDevices(func([]Device, *Group) error { return errors.New("no eBPF") }, list, elem...)
	if err != nil || !legacy {
		t.Fatalf("%v, %v", legacy, err)
	}
	// The shell waits for its line, and so is in both groups when it tries.
	cmd := pausedIn(t, g, `exec 3>/dev/null;  try() { "$@" >&3 2>&3 && printf y || printf n; }
			try head -c1 /dev/null; try sh -c 'echo >/dev/null'; try head -c1 /dev/zero; try sh -c 'echo >/dev/zero'
			try head -c1 /dev/urandom; try head -c1 `+disk+`; try mknod `+disk+`2 b 8 0; try head -c1 `+disk+`2; rm -f `+disk+`2`)
	if err := EnterDevices(cmd.process.Pid, elem...); err != nil {
		t.Fatal(err)
	}
	if have := cmd.goOn(t); have != "yyynnnyn" {
		t.Error(have)
	}
	if err := RemoveDevices(elem...); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(legacyDevices, elem[0])); err == nil {
		t.Error("the cgroup1 group is left")
	}
}

// paused is a shell in a group that waits for a line before its script.
type paused struct {
	process *os.Process
	in, out *os.File
}

func pausedIn(t *testing.T, g *Group, script string) *paused {
	t.Helper()
	dir, err := g.Dir()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	theirIn, in, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	process, err := os.StartProcess("/bin/sh", []string{"sh", "-c", "read go; " + script}, &os.ProcAttr{
		Files: []*os.File{theirIn, theirOut, os.Stderr}, Env: os.Environ(),
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())},
	})
	if err != nil {
		t.Fatal(err)
	}
	theirIn.Close()
	theirOut.Close()
	return &paused{process, in, out}
}

// goOn returns what the script says.
func (p *paused) goOn(t *testing.T) string {
	t.Helper()
	if _, err := p.in.WriteString("go\n"); err != nil {
		t.Fatal(err)
	}
	said, err := io.ReadAll(p.out)
	if err != nil {
		t.Error(err)
	}
	_, _ = p.process.Wait()
	return string(said)
}

func rootOf(t *testing.T) string {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}
