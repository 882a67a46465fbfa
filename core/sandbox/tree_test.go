// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox/sandboxtest"
)

func TestDev(t *testing.T) {
	root := sandboxtest.Root(t)
	got := says(t, shell(root, `cd /dev; ls; for n in null zero full random urandom tty ptmx pts/ptmx; do stat -L -c "$n %t:%T %a" $n; done; readlink fd; echo gone >null; head -c 3 zero | wc -c; stat -c %a shm pts; touch shm/x`))
	want := strings.Join([]string{
		"console", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty", "urandom", "zero",
		"null 1:3 666", "zero 1:5 666", "full 1:7 666", "random 1:8 666", "urandom 1:9 666", "tty 5:0 666", "ptmx 5:2 666", "pts/ptmx 5:2 666",
		"/proc/self/fd", "3", "1777", "755",
	}, "\n")
	if got != want {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestAPIMounts(t *testing.T) {
	root := sandboxtest.Root(t)
	spec := shell(root, "ls /proc /sys | wc -l; ls /dev | wc -l")
	for mounts, want := range map[string]string{APIMountsDev: "3\n15", APIMountsNone: "3\n0"} {
		spec.APIMounts = mounts
		if got := says(t, spec); got != want {
			t.Errorf("%s: got %q, want %q", mounts, got, want)
		}
	}
	// What a busybox init does first.
	again := "mount -t proc proc /proc && mount -t tmpfs tmpfs /dev && mount -t sysfs sysfs /sys; " +
		"ls /sys/class >/dev/null && ls /proc/self >/dev/null && echo works"
	stdout, _, _ := run(t, shell(root, again))
	if stdout != "works\n" {
		t.Errorf("an init that mounts again: %q", stdout)
	}
	spec = shell(root, "touch /sys/x")
	if stdout, stderr, _ := run(t, spec); !strings.Contains(stderr, "Read-only") {
		t.Errorf("/sys is writable: %q %q", stdout, stderr)
	}
}

// Whatever a firmware has in the place of a mount point, nothing is mounted
// elsewhere.
func TestHostileMountPoints(t *testing.T) {
	for _, name := range []string{"dev", "proc", "sys"} {
		for kind, trap := range map[string]func(path string) error{
			"symbolic link": func(path string) error { return os.Symlink("/tmp", path) },
			"not a directory": func(path string) error {
				return os.WriteFile(path, nil, 0o644)
			},
			"no such directory": func(string) error { return nil },
		} {
			root := sandboxtest.Root(t)
			path := filepath.Join(root, name)
			if err := errors.Join(os.Remove(path), trap(path)); err != nil {
				t.Fatal(err)
			}
			_, err := begin(t, shell(root, "true"))
			var step *StageError
			if !errors.As(err, &step) || step.Object != "/"+name || !strings.Contains(err.Error(), kind) {
				t.Errorf("%s in place of /%s: %v", kind, name, err)
			}
		}
	}
}

func TestRootMustBeAMount(t *testing.T) {
	dir := t.TempDir()
	if _, err := begin(t, shell(dir, "true")); err == nil || !strings.Contains(err.Error(), "not a mount point") {
		t.Errorf("%v", err)
	}
}

func TestBinds(t *testing.T) {
	root, host := sandboxtest.Root(t), t.TempDir()
	sandboxtest.Write(t, host+"/file", "from the host\n", 0o644)
	spec := shell(root, "cat /new/place/file /one; echo more >/new/place/file; echo no >/ro/file; touch /ro/x; cat /link/here/file")
	if err := os.Symlink("/tmp", root+"/link"); err != nil {
		t.Fatal(err)
	}
	spec.Binds = []Bind{
		{Source: host, Target: "/new/place"},
		{Source: host, Target: "/ro", ReadOnly: true},
		{Source: host + "/file", Target: "/one"},
		{Source: host, Target: "/link/here"},
	}
	stdout, stderr, _ := run(t, spec)
	if want := "from the host\nfrom the host\nmore\n"; stdout != want {
		t.Errorf("got %q, want %q", stdout, want)
	}
	if strings.Count(stderr, "Read-only") != 2 {
		t.Errorf("read-only bind: %q", stderr)
	}
	if _, err := os.Stat(root + "/tmp/here"); err != nil {
		t.Errorf("a link in the target leads elsewhere: %v", err)
	}
}

func TestBindErrors(t *testing.T) {
	root, host := sandboxtest.Root(t), t.TempDir()
	sandboxtest.Write(t, host+"/file", "", 0o644)
	links := map[string]string{"/dangling": "/nowhere", "/up": "../../../../" + host, "/magic": "/proc/self/root"}
	for name, to := range links {
		if err := os.Symlink(to, root+name); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		bind Bind
		text string
	}{
		{Bind{Source: host + "/nosuch", Target: "/x"}, "nosuch"},
		{Bind{Source: host, Target: "/bin/busybox"}, "source is a directory"},
		{Bind{Source: host + "/file", Target: "/tmp"}, "target is a directory"},
		{Bind{Source: host, Target: "/dangling"}, "no such file"},
		{Bind{Source: host, Target: "/magic/tmp"}, "too many levels"},
		{Bind{Source: host, Target: "/"}, "the root is the union's"},
		{Bind{Source: "rel", Target: "/x"}, "absolute"},
	} {
		spec := shell(root, "true")
		spec.Binds = []Bind{c.bind}
		if _, err := begin(t, spec); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%+v: %v, want %q", c.bind, err, c.text)
		}
	}
	// A link upwards stays below the root, and so makes nothing on the host.
	spec := shell(root, "true")
	spec.Binds = []Bind{{Source: host, Target: "/up/made"}}
	_, _ = begin(t, spec)
	if _, err := os.Lstat(host + "/made"); err == nil {
		t.Error("a bind target was made on the host")
	}
}

// Mounts of the instance do not reach the host, and the host's are not pinned.
func TestMountsArePrivate(t *testing.T) {
	root, host := sandboxtest.Root(t), t.TempDir()
	if err := unix.Mount(host, host, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(host, unix.MNT_DETACH)
	if err := unix.Mount("", host, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	spec := shell(root, "mount -t tmpfs inside /shared && echo up; read x")
	spec.Binds = []Bind{{Source: host, Target: "/shared"}}
	p, err := begin(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	readUntil(t, p.Stdout, "up\n")
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(table), "- tmpfs inside ") {
		t.Errorf("the instance's mount reached the host: %v", err)
	}
	p.Stdin.Close()
	waitFor(t, p)
}

func TestTerminal(t *testing.T) {
	root := sandboxtest.Root(t)
	for _, mounts := range []string{APIMountsAll, APIMountsNone} {
		spec := shell(root, "stty size; test -t 0 && test -t 2 && echo tty; echo $TERM; echo end >&2; read line; echo got $line; echo x >/dev/tty")
		if mounts == APIMountsNone {
			spec = shell(root, "stty size; test -t 0 && test -t 2 && echo tty; echo $TERM; echo end >&2; read line; echo got $line; echo x")
		}
		spec.Terminal, spec.Rows, spec.Cols, spec.APIMounts = true, 33, 101, mounts
		p, err := begin(t, spec)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := readUntil(t, p.Console, "end\r\n"), "33 101\r\ntty\r\nlinux\r\nend\r\n"; got != want {
			t.Errorf("%s: got %q, want %q", mounts, got, want)
		}
		if _, err := p.Console.Write([]byte("hi\r")); err != nil {
			t.Fatal(err)
		}
		waitFor(t, p)
		p.EndConsole()
		rest, err := io.ReadAll(p.Console)
		if !strings.Contains(string(rest), "got hi\r\nx\r\n") || !errors.Is(err, unix.EIO) {
			t.Errorf("%s: rest %q, %v", mounts, rest, err)
		}
	}
}

func TestResize(t *testing.T) {
	root := sandboxtest.Root(t)
	spec := shell(root, "trap 'stty size; exit' WINCH; echo up; while :; do sleep 0.01; done")
	spec.Terminal = true
	p, err := begin(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	readUntil(t, p.Console, "up\r\n")
	if err := p.Resize(50, 132); err != nil {
		t.Fatal(err)
	}
	readUntil(t, p.Console, "50 132\r\n")
}

// Without a terminal /dev/console is still somewhere to write to, whatever
// becomes of pid 1's own output, and no writer is needed to keep it open.
func TestConsoleWithoutTerminal(t *testing.T) {
	root := sandboxtest.Root(t)
	p, err := begin(t, shell(root, "echo one >/dev/console; echo out; read x; echo two >/dev/console"))
	if err != nil {
		t.Fatal(err)
	}
	if got := readUntil(t, p.Console, "one\n"); got != "one\n" {
		t.Errorf("got %q", got)
	}
	if got := readUntil(t, p.Stdout, "out\n"); got != "out\n" {
		t.Errorf("stdout has %q", got)
	}
	p.Stdin.Close()
	readUntil(t, p.Console, "two\n")
	waitFor(t, p)
}

// TestDiesWithItsMaker kills a process that has started a pid 1.
func TestDiesWithItsMaker(t *testing.T) {
	const role = "SANDBOX_TEST_MAKER"
	if spec := os.Getenv(role); spec != "" {
		user, path, _ := strings.Cut(spec, "@")
		s := shell(path, "exec sleep 600")
		s.User = strings.TrimPrefix(user, "userns ")
		if s.User != user {
			s.IDs = testIDs
		}
		p, err := Start(context.Background(), s)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("pid %d\n", p.Pid)
		p.Wait()
		return
	}
	plain := sandboxtest.Root(t)
	mapped, _ := mappedRoot(t)
	for _, user := range []string{"", "alice", "userns ", "userns alice"} {
		root := plain
		if strings.HasPrefix(user, "userns ") {
			root = mapped
		}
		maker := exec.Command(testBinary(t), "-test.run=^TestDiesWithItsMaker$")
		maker.Env = append(os.Environ(), role+"="+user+"@"+root)
		out, err := maker.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := maker.Start(); err != nil {
			t.Fatal(err)
		}
		var pid int
		if _, err := fmt.Fscanf(out, "pid %d\n", &pid); err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(fd)
		if err := maker.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = maker.Wait()
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, int(testLimit.Milliseconds())); n != 1 {
			t.Errorf("user %q: pid 1 outlives its maker: %v", user, err)
			_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
	}
}
