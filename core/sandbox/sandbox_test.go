// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/sandbox/sandboxtest"
)

// TestMain is the binary's dispatch: Start runs the test binary as the stage.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == InitArg {
		Main()
	}
	if len(os.Args) > 1 && os.Args[1] == attackArg {
		attack()
	}
	os.Exit(m.Run())
}

const testLimit = sandboxtest.Limit

func begin(t *testing.T, spec Spec) (*Process, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	p, err := Start(ctx, spec)
	if err == nil {
		t.Cleanup(func() {
			_ = unix.PidfdSendSignal(p.PidFD, unix.SIGKILL, nil, 0)
			p.Wait()
			p.Close()
		})
	}
	return p, err
}

// run gives pid 1 no input and returns what it said.
func run(t *testing.T, spec Spec) (stdout, stderr string, exit Exit) {
	t.Helper()
	p, err := begin(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	p.Stdin.Close()
	stop := time.AfterFunc(testLimit, func() {
		t.Errorf("%v does not end", spec.Args)
		_ = unix.PidfdSendSignal(p.PidFD, unix.SIGKILL, nil, 0)
	})
	defer stop.Stop()
	errText := make(chan string)
	go func() {
		text, _ := io.ReadAll(p.Stderr)
		errText <- string(text)
	}()
	out, err := io.ReadAll(p.Stdout)
	if err != nil {
		t.Error(err)
	}
	return string(out), <-errText, p.Wait()
}

func shell(root, script string) Spec {
	return Spec{Root: root, Args: []string{"/bin/sh", "-c", script}}
}

// says runs a script that must succeed, and returns its output without the last
// newline.
func says(t *testing.T, spec Spec) string {
	t.Helper()
	stdout, stderr, exit := run(t, spec)
	if exit.Status() != 0 || stderr != "" {
		t.Errorf("exit %+v, stderr %q", exit, stderr)
	}
	return strings.TrimSuffix(stdout, "\n")
}

func TestExit(t *testing.T) {
	root := sandboxtest.Root(t)
	for _, c := range []struct {
		script string
		want   Exit
		status int
	}{
		{"true", Exit{Reason: ReasonExited}, 0},
		{"exit 7", Exit{Code: 7, Reason: ReasonExited}, 7},
		{"exit 255", Exit{Code: 255, Reason: ReasonExited}, 255},
		{"poweroff -f", Exit{Signal: 2, Reason: ReasonPoweroff}, 0},
		{"reboot -f", Exit{Signal: 1, Reason: ReasonReboot}, 129},
		// A program cannot end itself by a signal as pid 1.
		{"kill -TERM 1; kill -KILL 1; exit 3", Exit{Code: 3, Reason: ReasonExited}, 3},
	} {
		_, _, exit := run(t, shell(root, c.script))
		if exit != c.want || exit.Status() != c.status {
			t.Errorf("%s: %+v status %d, want %+v status %d", c.script, exit, exit.Status(), c.want, c.status)
		}
	}
}

func waitFor(t *testing.T, p *Process) Exit {
	t.Helper()
	select {
	case <-p.Done():
		return p.Wait()
	case <-time.After(testLimit):
		t.Fatal("pid 1 does not end")
		return Exit{}
	}
}

func readUntil(t *testing.T, file *os.File, end string) string {
	t.Helper()
	_ = file.SetReadDeadline(time.Now().Add(testLimit))
	var got strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(got.String(), end) {
		n, err := file.Read(buf)
		got.Write(buf[:n])
		if err != nil {
			t.Fatalf("got %q, then %v; want %q", got.String(), err, end)
		}
	}
	return got.String()
}

func TestSurroundings(t *testing.T) {
	root := sandboxtest.Root(t)
	spec := shell(root, "hostname; echo $$; pwd; umask; ls /proc/self/fd | wc -l; ls / | grep -c old; ip -o link | wc -l; ip addr show lo | grep -c 127.0.0.1; id -u; id -G")
	spec.Hostname = "brave_otter"
	// ls itself has the directory open, as descriptor 3.
	if got, want := says(t, spec), "brave_otter\n1\n/\n0022\n4\n0\n1\n1\n0\n0"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	mounts := says(t, shell(root, "cat /proc/self/mountinfo"))
	if n := strings.Count(mounts, "\n") + 1; n != 8 {
		t.Errorf("%d mounts, want root, dev, shm, mqueue, pts, console, proc, sys:\n%s", n, mounts)
	}
	if strings.Contains(mounts, "shared:") || strings.Contains(mounts, "master:") {
		t.Errorf("a mount propagates:\n%s", mounts)
	}
	// Not by the shell, which ignores some itself.
	signals := says(t, Spec{Root: root, Args: []string{"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"}})
	if signals != "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000" {
		t.Errorf("inherited signals: %q", signals)
	}
}

func testBinary(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func TestEnvironment(t *testing.T) {
	root := sandboxtest.Root(t)
	t.Setenv("SECRET_OF_THE_CALLER", "x")
	spec := Spec{Root: root, Args: []string{"env"}}
	if got, want := says(t, spec), "PATH="+defaultPath+"\nHOME=/root\ncontainer=firmwared"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	spec.Env = []string{"A=1", "HOME=/x", "A=2 b"}
	if got, want := says(t, spec), "PATH="+defaultPath+"\nHOME=/x\ncontainer=firmwared\nA=2 b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestUserAndCwd(t *testing.T) {
	root := sandboxtest.Root(t)
	for user, want := range map[string]string{
		"alice":      "1000 1001 1001 44 /home/alice",
		"alice:root": "1000 0 0 /home/alice",
		"12:34":      "12 34 34 /",
		"":           "0 0 0 /root",
	} {
		spec := shell(root, "echo $(id -u) $(id -g) $(id -G) $HOME; echo x >/dev/stdout; pwd")
		spec.User, spec.Cwd = user, "/tmp"
		if got := says(t, spec); got != want+"\nx\n/tmp" {
			t.Errorf("user %q: got %q, want %q", user, got, want)
		}
	}
	spec := shell(root, "true")
	spec.Cwd = "/no such"
	_, err := begin(t, spec)
	var step *StageError
	if !errors.As(err, &step) || step.Object != "/no such" || !errors.Is(err, unix.ENOENT) {
		t.Errorf("%v", err)
	}
	spec.Cwd, spec.User = "", "bob"
	if _, err := begin(t, spec); !errors.As(err, &step) || step.Object != "bob" {
		t.Errorf("%v", err)
	}
	// A fifo in place of the accounts must not stop the start for ever.
	if err := errors.Join(os.Remove(root+"/etc/passwd"), unix.Mkfifo(root+"/etc/passwd", 0o644)); err != nil {
		t.Fatal(err)
	}
	if got := says(t, shell(root, "echo $HOME")); got != "/" {
		t.Error(got)
	}
}

func TestCapabilities(t *testing.T) {
	root := sandboxtest.Root(t)
	set := func(spec Spec) (bounding, effective uint64) {
		text := says(t, spec)
		if _, err := fmt.Sscanf(text, "CapEff:\t%x\nCapBnd:\t%x", &effective, &bounding); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		return bounding, effective
	}
	spec := shell(root, "grep -E '^Cap(Eff|Bnd)' /proc/self/status")
	bounding, effective := set(spec)
	for _, c := range deniedCaps {
		if (bounding|effective)&(1<<uint(c)) != 0 {
			t.Errorf("%s is there", c)
		}
	}
	for _, c := range []int{unix.CAP_SYS_ADMIN, unix.CAP_SYS_BOOT, unix.CAP_NET_ADMIN, unix.CAP_MKNOD} {
		if effective&(1<<uint(c)) == 0 {
			t.Errorf("capability %d is missing", c)
		}
	}
	spec.Confine.None = true
	if _, effective := set(spec); effective&(1<<uint(unix.CAP_SYSLOG)) == 0 {
		t.Error("unconfined, and confined all the same")
	}
	spec.Confine.None, spec.User = false, "alice"
	if _, effective := set(spec); effective != 0 {
		t.Errorf("an ordinary user has capabilities %x", effective)
	}
}

func TestExecErrors(t *testing.T) {
	root := sandboxtest.Root(t)
	sandboxtest.Write(t, root+"/bin/text", "hello\n", 0o755)
	sandboxtest.Write(t, root+"/bin/plain", "#!/bin/sh\n", 0o644)
	sandboxtest.Write(t, root+"/bin/orphan", "#!/bin/nosuch\n", 0o755)
	elf := "\x7fELF\x02\x01\x01" + strings.Repeat("\x00", 9) + "\x02\x00\xb7\x00" + strings.Repeat("\x00", 60)
	sandboxtest.Write(t, root+"/bin/foreign", elf, 0o755)
	for name, want := range map[string]struct {
		status int
		text   string
	}{
		"/bin/nosuch":  {127, "no such file"},
		"nosuch":       {127, "not found in /usr"},
		"/bin/text":    {126, "neither a program nor a script"},
		"/bin/plain":   {126, "permission denied"},
		"plain":        {126, "permission denied"},
		"/bin/orphan":  {126, "interpreter"},
		"/bin/foreign": {126, "aarch64"},
		"/bin":         {126, "directory"},
	} {
		_, err := begin(t, Spec{Root: root, Args: []string{name}})
		var e *ExecError
		if !errors.As(err, &e) || e.Status() != want.status || !strings.Contains(err.Error(), want.text) {
			t.Errorf("%s: %v, want %d %s", name, err, want.status, want.text)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("%q is more than a line", err)
		}
	}
}

func TestCgroup(t *testing.T) {
	root := sandboxtest.Root(t)
	elem := []string{fmt.Sprintf("fwtest-sandbox-%d", os.Getpid()), "payload"}
	if _, err := cgroup.Make(elem...); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cgroup.Open(elem[0]).Remove(); err != nil {
			t.Error(err)
		}
	}()
	spec := shell(root, "cat /proc/self/cgroup; echo up; read x")
	spec.Cgroup = elem
	defer func() { testOnlyNoClone3 = false }()
	for _, testOnlyNoClone3 = range []bool{false, true} {
		p, err := begin(t, spec)
		if err != nil {
			t.Fatal(err)
		}
		text := readUntil(t, p.Stdout, "up\n")
		if !strings.Contains(text, "0::/\n") {
			t.Errorf("not the root of its own cgroup namespace: %s", text)
		}
		if pids, err := cgroup.Open(elem...).Procs(); err != nil || len(pids) != 1 || pids[0] != p.Pid {
			t.Errorf("in the group: %v %v, want %d", pids, err, p.Pid)
		}
		p.Stdin.Close()
		waitFor(t, p)
	}
	spec.Cgroup = []string{elem[0], "nosuch"}
	if _, err := begin(t, spec); !errors.Is(err, unix.ENOENT) {
		t.Errorf("a group that does not exist: %v", err)
	}
}

// TestCloseOnExecAll is the way of a kernel without CLOSE_RANGE_CLOEXEC.
func TestCloseOnExecAll(t *testing.T) {
	fd, err := unix.Dup(0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := closeOnExecAll(); err != nil {
		t.Fatal(err)
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("%x %v", flags, err)
	}
}

func TestStartCanBeCancelled(t *testing.T) {
	root := sandboxtest.Root(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if p, err := Start(ctx, shell(root, "sleep 60")); !errors.Is(err, context.Canceled) {
		t.Errorf("%v %v", p, err)
	}
}

func TestNothingIsLeftOpen(t *testing.T) {
	root := sandboxtest.Root(t)
	one := func(t *testing.T) {
		run(t, shell(root, "true"))
		_, _ = begin(t, Spec{Root: root, Args: []string{"/nosuch"}})
		_, _ = begin(t, Spec{Root: root, Args: []string{"/nosuch"}, Terminal: true})
		_, _ = begin(t, Spec{Root: "/nosuch", Args: []string{"/bin/true"}})
	}
	t.Run("warm up", one)
	before := countFDs(t)
	t.Run("again", one)
	if after := countFDs(t); after > before {
		t.Errorf("%d descriptors became %d", before, after)
	}
}

func countFDs(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
