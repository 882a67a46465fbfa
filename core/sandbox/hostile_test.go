// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox/sandboxtest"
)

// attackArg makes the test binary a hostile pid 1: see attack.
const attackArg = "attack"

// attack looks, as fast as it can, at every process that appears in its pid
// namespace, and tells in one line each what it got hold of of one that is not
// yet the command. It ends when its input does.
func attack() {
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	// Born into this namespace, a process has the number after the last one's.
	for pid := 2; ; {
		if pid > 4000 {
			pid = 2
		}
		proc := fmt.Sprintf("/proc/%d", pid)
		if !isStage(proc) {
			last, _ := os.ReadFile("/proc/loadavg")
			fields := strings.Fields(string(last))
			n, _ := strconv.Atoi(fields[len(fields)-1])
			pid = max(n, 2)
			continue
		}
		fmt.Println(loot(proc))
	}
}

// loot is "" for a process that went on meanwhile.
func loot(proc string) string {
	var got []string
	status, _ := os.ReadFile(proc + "/status")
	for line := range strings.Lines(string(status)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ":\t"); name == "CapPrm" || name == "CapBnd" || name == "CapEff" {
			got = append(got, name+"="+value)
		}
	}
	environ, _ := os.ReadFile(proc + "/environ")
	got = append(got, "environ="+strings.ReplaceAll(string(environ), "\x00", ","))
	var root, own unix.Stat_t
	if unix.Stat(proc+"/root/", &root) == nil && unix.Stat("/", &own) == nil && (root.Dev != own.Dev || root.Ino != own.Ino) {
		got = append(got, "root=another")
	}
	links, _ := os.ReadDir(proc + "/fd")
	for _, link := range links {
		to, _ := os.Readlink(proc + "/fd/" + link.Name())
		if strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "/memfd:") {
			got = append(got, "fd="+to)
		}
	}
	if exe, err := os.OpenFile(proc+"/exe", os.O_RDWR, 0); err == nil {
		if _, err := exe.WriteAt([]byte("evil"), 0); err == nil {
			got = append(got, "exe=written")
		}
		exe.Close()
	}
	if exe, err := unix.Open(proc+"/exe", unix.O_PATH|unix.O_CLOEXEC, 0); err == nil {
		writable := &unix.MountAttr{Attr_clr: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(exe, "", unix.AT_EMPTY_PATH, writable); err == nil {
			got = append(got, "exe=made writable")
		}
		if tree, err := unix.OpenTree(exe, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH); err == nil {
			got = append(got, "exe=cloned")
			unix.Close(tree)
		}
		unix.Close(exe)
	}
	if !isStage(proc) {
		return ""
	}
	return strings.Join(got, " ")
}

// isStage tells a process that is not yet the command: its program is none of the
// firmware's.
func isStage(proc string) bool {
	exe, err := os.Readlink(proc + "/exe")
	return err == nil && exe != "" && !strings.HasPrefix(exe, "/bin/")
}

func sum(t *testing.T, path string) [32]byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(data)
}

// A root of an instance without a user namespace may ptrace whatever it can
// name. What it catches of a process that enters has nothing that it lacks.
func TestHostileInstanceGainsNothing(t *testing.T) {
	t.Setenv("SECRET", "of the caller")
	root := sandboxtest.Root(t)
	self := testBinary(t)
	data, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	sandboxtest.Write(t, filepath.Join(root, "bin/attack"), string(data), 0o755)
	before := sum(t, self)
	spec := Spec{Root: root, Args: []string{"/bin/attack", attackArg}}
	for _, dir := range []string{"/lib", "/lib64"} { // with cgo the test binary has a loader
		if _, err := os.Stat(dir); err == nil {
			spec.Binds = append(spec.Binds, Bind{Source: dir, Target: dir, ReadOnly: true})
		}
	}
	p, err := begin(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(chan string, 1000)
	go func() {
		defer close(seen)
		for lines := bufio.NewScanner(p.Stdout); lines.Scan(); {
			if lines.Text() != "" {
				seen <- lines.Text()
			}
		}
	}()
	own, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, caps, _ := strings.Cut(string(own), "CapPrm:\t")
	caps = caps[:16]
	for n := 0; n < 400 && len(seen) < 20; n++ {
		command, err := enter(t, p, script("true"))
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, command)
		command.Close()
	}
	p.Stdin.Close()
	waitFor(t, p)
	caught := 0
	for line := range seen {
		caught++
		want := fmt.Sprintf("CapPrm=%s CapEff=%s CapBnd=%s environ=GOMAXPROCS=1,", caps, caps, caps)
		if line != want {
			t.Errorf("caught %q, allowed is %q", line, want)
		}
	}
	if caught == 0 {
		t.Error("no entering process was caught: nothing is shown")
	}
	if sum(t, self) != before {
		t.Error("the program's file was changed")
	}
}
