// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/sandbox/sandboxtest"
)

// running is an instance with a patient pid 1.
func running(t *testing.T, spec Spec) *Process {
	t.Helper()
	if spec.Args == nil {
		spec.Args = []string{"/bin/sh", "-c", "while :; do sleep 1000; done"}
	}
	p, err := begin(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func enter(t *testing.T, into *Process, spec Spec) (*Process, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testLimit)
	defer cancel()
	spec.Root = "/"
	p, err := Enter(ctx, into.PidFD, into.Pid, spec)
	if err == nil {
		t.Cleanup(func() {
			_ = p.Signal(unix.SIGKILL)
			p.Wait()
			p.Close()
		})
	}
	return p, err
}

// enterSays returns what a script in the instance prints, both streams.
func enterSays(t *testing.T, into *Process, spec Spec) (string, Exit) {
	t.Helper()
	p, err := enter(t, into, spec)
	if err != nil {
		t.Fatal(err)
	}
	p.Stdin.Close()
	out, err := io.ReadAll(io.MultiReader(p.Stdout, p.Stderr))
	if err != nil {
		t.Error(err)
	}
	return strings.TrimSuffix(string(out), "\n"), waitFor(t, p)
}

func script(text string) Spec { return Spec{Args: []string{"/bin/sh", "-c", text}} }

func TestEnterIsInside(t *testing.T) {
	root := sandboxtest.Root(t)
	p := running(t, Spec{Root: root, Hostname: "inside"})
	outside, _ := os.Readlink("/proc/self/ns/net")
	text, exit := enterSays(t, p, script("for n in mnt pid net uts ipc cgroup; do readlink /proc/1/ns/$n; readlink /proc/self/ns/$n; done"))
	lines := strings.Fields(text)
	if exit.Status() != 0 || len(lines) != 12 {
		t.Fatalf("%q %+v", text, exit)
	}
	for i := 0; i < 12; i += 2 {
		if lines[i] != lines[i+1] || lines[i] == outside {
			t.Errorf("pid 1 has %s, the command %s", lines[i], lines[i+1])
		}
	}
	text, _ = enterSays(t, p, script("hostname; pwd; umask; ls /proc/self/fd | tr '\\n' ' '; ls -d /bin; test -e "+testBinary(t)+" || echo away"))
	if text != "inside\n/\n0022\n0 1 2 3 /bin\naway" { // 3 is ls itself
		t.Errorf("%q", text)
	}
	for _, unconfined := range []bool{false, true} {
		p := running(t, Spec{Root: root, Confine: Confinement{None: unconfined}})
		same := script("for f in Cap Groups SigBlk SigIgn NoNewPrivs; do grep ^$f /proc/1/status >/tmp/1; grep ^$f /proc/self/status >/tmp/2; cat /tmp/1 /tmp/2; done")
		same.Confine.None = unconfined
		text, _ := enterSays(t, p, same)
		lines := strings.Split(text, "\n")
		seen := map[string]string{}
		for _, line := range lines {
			name, value, _ := strings.Cut(line, ":")
			if old, again := seen[name]; again && old != value && name != "SigIgn" {
				t.Errorf("%s: pid 1 has %q, the command %q", name, old, value)
			}
			seen[name] = value
		}
		if len(seen) < 8 {
			t.Errorf("too few lines: %q", text)
		}
	}
}

func TestEnterEndsAsTheCommandDoes(t *testing.T) {
	p := running(t, Spec{Root: sandboxtest.Root(t)})
	for text, want := range map[string]int{"exit 0": 0, "exit 7": 7, "kill -TERM $$": 143, "kill -INT $$": 130, "kill -HUP $$": 129} {
		if _, exit := enterSays(t, p, script(text)); exit.Status() != want {
			t.Errorf("%s: %+v", text, exit)
		}
	}
	command, err := enter(t, p, script("sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Signal(unix.SIGUSR1); err != nil {
		t.Error(err)
	}
	if exit := waitFor(t, command); exit.Status() != 138 {
		t.Errorf("%+v", exit)
	}
}

func TestEnterStreams(t *testing.T) {
	p := running(t, Spec{Root: sandboxtest.Root(t)})
	command, err := enter(t, p, script("cat; echo wrong >&2"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := command.Stdin.WriteString("some bytes"); err != nil {
		t.Fatal(err)
	}
	command.Stdin.Close()
	out, _ := io.ReadAll(command.Stdout)
	errText, _ := io.ReadAll(command.Stderr)
	if string(out) != "some bytes" || string(errText) != "wrong\n" {
		t.Errorf("%q %q", out, errText)
	}
}

// A stream that the command closes ends, although the command runs on.
func TestEnterStreamsAreTheCommandsAlone(t *testing.T) {
	p := running(t, Spec{Root: sandboxtest.Root(t)})
	command, err := enter(t, p, script("echo out; exec >&- 2>&- <&-; sleep 1000"))
	if err != nil {
		t.Fatal(err)
	}
	limit := time.Now().Add(testLimit)
	_ = command.Stdout.SetReadDeadline(limit)
	if out, err := io.ReadAll(command.Stdout); err != nil || string(out) != "out\n" {
		t.Errorf("%q %v", out, err)
	}
	_ = command.Stdin.SetWriteDeadline(limit)
	if _, err := command.Stdin.Write(make([]byte, 1<<20)); !errors.Is(err, unix.EPIPE) {
		t.Errorf("stdin: %v", err)
	}
}

func TestEnterUserCwdEnv(t *testing.T) {
	p := running(t, Spec{Root: sandboxtest.Root(t)})
	spec := script("id -u; id -g; id -G; pwd; env; echo to stdout >/dev/stdout; ulimit -n")
	spec.User, spec.Cwd, spec.Env = "alice", "/tmp", []string{"A=1", "A=2"}
	text, exit := enterSays(t, p, spec)
	var limit unix.Rlimit
	if err := unix.Prlimit(p.Pid, unix.RLIMIT_NOFILE, nil, &limit); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1000\n1001\n1001 44\n/tmp\n", "A=2\n", "HOME=/home/alice\n", "PATH=" + defaultPath + "\n", "to stdout\n", fmt.Sprint(limit.Cur)} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %q (%+v)", want, text, exit)
		}
	}
	if strings.Contains(text, "GOMAXPROCS") || strings.Contains(text, "TERM=") {
		t.Errorf("too much in the environment: %q", text)
	}
}

func TestEnterErrors(t *testing.T) {
	root := sandboxtest.Root(t)
	p := running(t, Spec{Root: root})
	for _, c := range []struct {
		spec   Spec
		status int
		text   string
	}{
		{Spec{Args: []string{"nosuch"}}, 127, "not found in"},
		{Spec{Args: []string{"/bin/nosuch"}}, 127, "no such file"},
		{Spec{Args: []string{"/etc/passwd"}}, 126, "permission denied"},
		{Spec{Args: []string{"/etc"}}, 126, "directory"},
		{Spec{Args: []string{"/bin/true"}, User: "nobody-here"}, 0, "find user"},
		{Spec{Args: []string{"/bin/true"}, Cwd: "/nowhere"}, 0, "/nowhere"},
	} {
		_, err := enter(t, p, c.spec)
		var exec *ExecError
		switch {
		case err == nil || !strings.Contains(err.Error(), c.text):
			t.Errorf("%+v: %v", c.spec, err)
		case errors.As(err, &exec) != (c.status != 0) || c.status != 0 && exec.Status() != c.status:
			t.Errorf("%+v: %#v", c.spec, err)
		}
	}
	_ = unix.PidfdSendSignal(p.PidFD, unix.SIGKILL, nil, 0)
	p.Wait()
	if _, err := enter(t, p, script("true")); err == nil {
		t.Error("entered a dead instance")
	}
}

func TestEnterTerminal(t *testing.T) {
	for _, mounts := range []string{APIMountsAll, APIMountsNone} {
		root := sandboxtest.Root(t)
		p := running(t, Spec{Root: root, APIMounts: mounts})
		spec := script("stty size; test -t 0 && test -t 1 && test -t 2 && echo all; read line; echo got $line; read line; echo; stty size; exit 3")
		spec.Terminal, spec.Rows, spec.Cols = true, 33, 77
		command, err := enter(t, p, spec)
		if err != nil {
			t.Fatal(err)
		}
		readUntil(t, command.Console, "33 77\r\nall\r\n")
		_, _ = command.Console.WriteString("abc\n")
		readUntil(t, command.Console, "got abc\r\n")
		if err := command.Resize(44, 88); err != nil {
			t.Error(err)
		}
		_, _ = command.Console.WriteString("\n")
		readUntil(t, command.Console, "44 88\r\n")
		if exit := waitFor(t, command); exit.Status() != 3 {
			t.Errorf("%+v", exit)
		}
		// Ctrl-C reaches the foreground group: it is a controlling terminal.
		spec = script("echo up; sleep 1000; sleep 1000")
		spec.Terminal = true
		if command, err = enter(t, p, spec); err != nil {
			t.Fatal(err)
		}
		readUntil(t, command.Console, "up\r\n")
		awaitComm(t, command.Pid, "sh")
		_, _ = command.Console.WriteString("\x03")
		if exit := waitFor(t, command); exit.Status() != 130 {
			t.Errorf("%+v", exit)
		}
	}
}

// What lies on /dev/pts is the instance's business; nothing of it is opened.
func TestEnterTerminalOnHostilePts(t *testing.T) {
	root := sandboxtest.Root(t)
	for _, evil := range []string{
		"mount -t tmpfs t /dev/pts && mkfifo /dev/pts/ptmx",
		"mount -t tmpfs t /dev/pts && ln -s /etc/passwd /dev/pts/ptmx",
		"mount -t tmpfs t /dev && ln -s / /dev/pts",
	} {
		p := running(t, Spec{Root: root, Args: []string{"/bin/sh", "-c", "PATH=/bin; " + strings.Replace(evil, "mkfifo", "/bin/busybox mkfifo", 1) + "; ln -s x /bent 2>/dev/null; exec sleep 1000"}})
		awaitComm(t, p.Pid, "sleep")
		spec := script("tty; test -t 0 && echo yes")
		spec.Terminal = true
		command, err := enter(t, p, spec)
		if err != nil {
			t.Fatalf("%s: %v", evil, err)
		}
		readUntil(t, command.Console, "yes\r\n")
		waitFor(t, command)
	}
}

func TestEnterCgroup(t *testing.T) {
	elem := []string{"firmwared-test-" + fmt.Sprint(os.Getpid()), "payload"}
	group, err := cgroup.Make(elem...)
	if errors.Is(err, cgroup.ErrNone) {
		t.Fatal("the test machine has no cgroup2")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cgroup.Open(elem[0]).Remove(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { _ = group.Kill() })
	p := running(t, Spec{Root: sandboxtest.Root(t), Cgroup: elem})
	spec := script("grep ^0: /proc/self/cgroup; sleep 1000")
	spec.Cgroup = elem
	command, err := enter(t, p, spec)
	if err != nil {
		t.Fatal(err)
	}
	readUntil(t, command.Stdout, "0::/\n")
	pids, err := group.Procs()
	if err != nil || !slices.Contains(pids, command.Pid) {
		t.Errorf("%d is not among %v (%v)", command.Pid, pids, err)
	}
	// A frozen instance does not hold the caller.
	freeze := filepath.Join(group.Path(), "cgroup.freeze")
	if err := os.WriteFile(freeze, []byte("1"), 0); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	began := time.Now()
	spec.Root = "/"
	if _, err := Enter(ctx, p.PidFD, p.Pid, spec); err == nil || time.Since(began) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
	if err := os.WriteFile(freeze, []byte("0"), 0); err != nil {
		t.Fatal(err)
	}
	// The command ends with pid 1.
	_ = unix.PidfdSendSignal(p.PidFD, unix.SIGKILL, nil, 0)
	if exit := waitFor(t, command); exit.Status() != 137 {
		t.Errorf("%+v", exit)
	}
}

// A command is in the user namespace, too, with what pid 1 may do and no more.
func TestEnterUserNS(t *testing.T) {
	root, onDisk := mappedRoot(t)
	p := running(t, Spec{Root: root, IDs: testIDs})
	what := "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status; cat /proc/self/uid_map; id -u; id -G"
	same := script(what)
	same.IDs = testIDs
	have, exit := enterSays(t, p, same)
	if exit.Status() != 0 {
		t.Fatalf("%+v, %q", exit, have)
	}
	if want := says(t, inUserNS(root, what)); strings.TrimSpace(have) != strings.TrimSpace(want) {
		t.Errorf("%q, pid 1 has %q", have, want)
	}
	for _, c := range []struct{ user, script, want string }{
		{"", "touch /tmp/entered; (echo x >/proc/sys/kernel/core_pattern) 2>/dev/null || echo no; echo back >/dev/stdout", "no\nback"},
		{"alice", "id -u; id -g; grep CapEff /proc/self/status | tr -d '\t'; echo back >/dev/stdout", "1000\n1001\nCapEff:0000000000000000\nback"},
	} {
		spec := script(c.script)
		spec.IDs, spec.User = testIDs, c.user
		if have, exit := enterSays(t, p, spec); have != c.want || exit.Status() != 0 {
			t.Errorf("user %q: %q, %+v", c.user, have, exit)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(onDisk+"/tmp/entered", &st); err != nil || st.Uid != 0 {
		t.Errorf("what a command made belongs to %d on the disk: %v", st.Uid, err)
	}
}

func TestEnterLeavesNothing(t *testing.T) {
	p := running(t, Spec{Root: sandboxtest.Root(t)})
	enterSays(t, p, script("true"))
	before := countFDs(t)
	for range 100 {
		command, err := enter(t, p, script("true"))
		if err != nil {
			t.Fatal(err)
		}
		command.Wait()
		command.Close()
	}
	if after := countFDs(t); after > before {
		t.Errorf("%d descriptors, then %d", before, after)
	}
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		t.Error(err) // pid 1 is a child still; none is a zombie
	} else if info.Signo != 0 {
		t.Error("a zombie is left")
	}
	if text, _ := enterSays(t, p, script("ls -d /proc/[0-9]*")); len(strings.Fields(text)) > 4 {
		t.Errorf("processes are left: %q", text)
	}
}

// BenchmarkGuard: what each stage pays for it.
func BenchmarkGuard(b *testing.B) {
	for name, guard := range map[string]func(string) (*os.File, error){"clone": readOnlyClone, "copy": sealedCopy} {
		b.Run(name, func(b *testing.B) {
			for range b.N {
				self, err := guard("/proc/self/exe")
				if err != nil {
					b.Fatal(err)
				}
				self.Close()
			}
		})
	}
}
