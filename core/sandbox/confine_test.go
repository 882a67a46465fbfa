// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/sandbox/sandboxtest"
)

// callsSource is a program that makes system calls with arguments that none
// takes, and prints their errnos: "32:N" by int 0x80, "N" in the machine's own way;
// "N=A" has A as its first argument.
const callsSource = `
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static long call32(long n, long first)
{
	long r = -ENOSYS;
#ifdef __x86_64__
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(n), "b"(first), "c"(-1L), "d"(-1L), "S"(-1L), "D"(-1L)
		: "memory", "r8", "r9", "r10", "r11");
#endif
	return r;
}
int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		char *equals = strchr(argv[i], '=');
		long r, first = equals ? atol(equals + 1) : -1L;
		errno = 0;
		if (strncmp(argv[i], "32:", 3) == 0)
			r = (int)call32(atol(argv[i] + 3), first), r = r < 0 ? -r : 0;
		else
			r = syscall(atol(argv[i]), first, -1L, -1L, -1L, -1L, -1L), r = errno;
		printf("%ld\n", r);
	}
	return 0;
}
`

var callNumbers = map[string]uintptr{
	"kexec_load": unix.SYS_KEXEC_LOAD, "swapon": unix.SYS_SWAPON, "open_by_handle_at": unix.SYS_OPEN_BY_HANDLE_AT,
	"init_module": unix.SYS_INIT_MODULE, "settimeofday": unix.SYS_SETTIMEOFDAY, "bpf": unix.SYS_BPF, "keyctl": unix.SYS_KEYCTL,
	"syslog": unix.SYS_SYSLOG, "io_uring_setup": unix.SYS_IO_URING_SETUP, "perf_event_open": unix.SYS_PERF_EVENT_OPEN,
	"fsopen": unix.SYS_FSOPEN, "move_mount": unix.SYS_MOVE_MOUNT, "close": unix.SYS_CLOSE, "x32": 0x40000000 + 3,
}

// makeCalls returns the errno of each call, by name.
func makeCalls(t *testing.T, confine Confinement, names ...string) map[string]string {
	t.Helper()
	root, source := sandboxtest.Root(t), filepath.Join(t.TempDir(), "calls.c")
	sandboxtest.Write(t, source, callsSource, 0o644)
	cmd := exec.Command("gcc", "-static", "-O1", "-o", root+"/bin/calls", source)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc (test/deps installs it): %v: %s", err, out)
	}
	spec := Spec{Root: root, Args: []string{"/bin/calls"}, Confine: confine}
	for _, name := range names {
		if number, found := callNumbers[name]; found {
			name = strconv.Itoa(int(number))
		}
		spec.Args = append(spec.Args, name)
	}
	errnos := map[string]string{}
	for i, line := range strings.Split(says(t, spec), "\n") {
		number, err := strconv.Atoi(line)
		if err != nil {
			t.Fatal(err)
		}
		errnos[names[i]] = unix.ErrnoName(unix.Errno(number))
	}
	return errnos
}

func TestSeccomp(t *testing.T) {
	want := map[string]string{
		"kexec_load": "EPERM", "swapon": "EPERM", "open_by_handle_at": "EPERM", "init_module": "EPERM",
		"settimeofday": "EPERM", "bpf": "EPERM", "keyctl": "ENOSYS", "syslog": "EPERM", "io_uring_setup": "ENOSYS",
		"perf_event_open": "EPERM", "fsopen": "EINVAL", "move_mount": "EINVAL", "close": "EBADF", "x32": "ENOSYS",
	}
	var names []string
	for name := range want {
		names = append(names, name)
	}
	have := makeCalls(t, Confinement{}, names...)
	for name, errno := range want {
		if have[name] != errno {
			t.Errorf("%s: %q, want %s", name, have[name], errno)
		}
	}
	// With a capability come the calls that it is for. With all, the kernel answers.
	have = makeCalls(t, Confinement{CapsAdd: []string{"CAP_SYS_TIME"}}, "settimeofday", "bpf")
	if have["settimeofday"] != "EFAULT" || have["bpf"] != "EPERM" {
		t.Errorf("with sys_time: %v", have)
	}
	have = makeCalls(t, Confinement{None: true}, "keyctl", "settimeofday")
	if have["keyctl"] == "ENOSYS" || have["settimeofday"] != "EFAULT" {
		t.Errorf("unconfined: %v", have)
	}
}

// Of sockets only those of no network namespace are denied; with a type that is
// none the kernel answers EINVAL to the others.
func TestSeccompSockets(t *testing.T) {
	socket := strconv.Itoa(unix.SYS_SOCKET)
	want := map[string]string{socket + "=40": "EAFNOSUPPORT", socket + "=42": "EAFNOSUPPORT", socket + "=1": "EINVAL", socket + "=41": "EINVAL"}
	if runtime.GOARCH == "amd64" {
		want["32:359=40"], want["32:359=1"] = "EAFNOSUPPORT", "EINVAL"
	}
	names := slices.Collect(maps.Keys(want))
	if have := makeCalls(t, Confinement{}, names...); !maps.Equal(have, want) {
		t.Errorf("%v, want %v", have, want)
	}
	if runtime.GOARCH == "amd64" { // socketcall's SYS_SOCKET and SYS_BIND, with a bad address
		for errno, c := range map[string]Confinement{"ENOSYS": {}, "EFAULT": {SocketCall: true}} {
			want := map[string]string{"32:102=1": errno, "32:102=2": "EFAULT"}
			if have := makeCalls(t, c, "32:102=1", "32:102=2"); !maps.Equal(have, want) {
				t.Errorf("%+v: %v, want %v", c, have, want)
			}
		}
	}
	if have := makeCalls(t, Confinement{None: true}, socket+"=40"); have[socket+"=40"] != "EINVAL" {
		t.Errorf("unconfined: %v", have)
	}
}

func TestCapsAddAndDrop(t *testing.T) {
	root := sandboxtest.Root(t)
	effective := func(c Confinement) string {
		spec := shell(root, "grep CapBnd /proc/self/status")
		spec.Confine = c
		return says(t, spec)
	}
	plain := effective(Confinement{})
	lent := effective(Confinement{CapsAdd: []string{"sys_time", "Cap_Syslog"}})
	bound := effective(Confinement{CapsDrop: []string{"net_admin"}, CapsAdd: []string{"net_admin"}})
	if plain == lent || plain == bound || lent == bound {
		t.Errorf("%q, %q, %q", plain, lent, bound)
	}
	for _, c := range []Confinement{{CapsAdd: []string{"fly"}}, {CapsDrop: []string{""}}} {
		spec := shell(root, "true")
		spec.Confine = c
		if _, err := begin(t, spec); err == nil || !strings.Contains(err.Error(), "is no capability") {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if !slices.Contains(DeniedCaps(), "sys_module") {
		t.Errorf("%q", DeniedCaps())
	}
}

// setuid programs go on to work: no_new_privs is not set.
func TestSetuidWorks(t *testing.T) {
	root := sandboxtest.Root(t)
	if err := os.Chmod(root+"/bin/busybox", 0o4755); err != nil {
		t.Fatal(err)
	}
	spec := shell(root, "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'; id -u")
	spec.User = "alice"
	if got := says(t, spec); !strings.HasPrefix(got, "NoNewPrivs:0\nSeccomp:2\n") {
		t.Errorf("%q", got)
	}
}

func TestParseLentDevice(t *testing.T) {
	got, err := ParseLentDevice("/dev/null:r", true)
	want := LentDevice{Path: "null", Mode: got.Mode, Rule: cgroup.Device{Major: 1, Minor: 3, Access: "r"}}
	if err != nil || got != want {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := ParseLentDevice("b:7:1", true); err != nil || got.Rule.String() != "b 7:1 rw" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, text := range []string{"", "/etc/passwd", "/dev/../etc/passwd", "/dev/null:x", "/dev/null:", "/dev", "/dev/shm", "/dev/nosuch", "c:1"} {
		if got, err := ParseLentDevice(text, true); err == nil {
			t.Errorf("%q is taken as %+v", text, got)
		}
	}
}

// A lent device is found in /dev, also below a directory and in a user namespace.
func TestLentDevice(t *testing.T) {
	plain := sandboxtest.Root(t)
	mapped, _ := mappedRoot(t)
	for _, spec := range []Spec{shell(plain, ""), inUserNS(mapped, "")} {
		spec.Args[2] = "stat -c '%t:%T %a %u' /dev/loan/zero && head -c2 /dev/loan/zero | wc -c"
		spec.Confine.Devices = []LentDevice{{Path: "loan/zero", Mode: 0o640, Rule: cgroup.Device{Major: 1, Minor: 5, Access: "rw"}}}
		if got := says(t, spec); got != "1:5 640 0\n2" {
			t.Errorf("%q", got)
		}
	}
}
