// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"firmwared/core/mount"
	"firmwared/core/sandbox/sandboxtest"
)

var testIDs = &IDs{First: 1900000000, Count: 65536}

// mappedRoot is sandboxtest.Root as an instance with testIDs needs it.
func mappedRoot(t *testing.T) (root, onDisk string) {
	t.Helper()
	onDisk, root = sandboxtest.Root(t), t.TempDir()
	ids, err := mount.NewIDMap(mount.IDRange{Outside: testIDs.First, Count: testIDs.Count})
	if err != nil {
		t.Fatal(err)
	}
	defer ids.Close()
	if err := ids.Clone(onDisk, root, false); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", root, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_NODEV, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Errorf("root is still in use: %v", err)
		}
	})
	return root, onDisk
}

func inUserNS(root, script string) Spec {
	spec := shell(root, script)
	spec.IDs = testIDs
	return spec
}

func TestUserNSSurroundings(t *testing.T) {
	root, onDisk := mappedRoot(t)
	spec := inUserNS(root, `id -u; id -G; hostname; echo $$; pwd; ls / | grep -c old; ip addr show lo | grep -c 127.0.0.1
		cat /proc/self/uid_map | tr -s ' '; ls /proc/self/fd | wc -l; touch /tmp/mine; touch /dev/log; stat -c %u /dev /dev/null /dev/log
		head -c 3 /dev/zero | wc -c; echo out >/dev/stdout; echo x >/dev/null; cat /dev/full 2>&1 | head -c 0; ls -d /proc/1/root/bin`)
	spec.Hostname = "otter"
	want := "0\n0\notter\n1\n/\n0\n1\n 0 1900000000 65536\n4\n0\n0\n0\n3\nout\n/proc/1/root/bin"
	if got := says(t, spec); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	var st unix.Stat_t
	if err := unix.Stat(onDisk+"/tmp/mine", &st); err != nil || st.Uid != 0 {
		t.Errorf("its root's file belongs to %d on the disk: %v", st.Uid, err)
	}
	spec = inUserNS(root, "id -u; id -G; echo hello >/dev/stdout")
	spec.User = "alice"
	if got := says(t, spec); got != "1000\n1001 44\nhello" && got != "1000\n1001\nhello" {
		t.Errorf("got %q", got)
	}
}

// An init mounts its own procfs, sysfs, devpts and tmpfs.
func TestUserNSMounts(t *testing.T) {
	root, _ := mappedRoot(t)
	mounts := says(t, inUserNS(root, "cat /proc/self/mountinfo"))
	if n := strings.Count(mounts, "\n") + 1; n != 8 {
		t.Errorf("%d mounts, want root, dev, shm, mqueue, pts, console, proc, sys:\n%s", n, mounts)
	}
	for _, api := range []string{APIMountsAll, APIMountsNone} {
		spec := inUserNS(root, `cd /tmp; mkdir -p p s t d; mount -t proc p p && echo proc; mount -t tmpfs t t && echo tmpfs
			mount -t devpts d d && echo devpts; mount -t proc proc /proc && echo again; cat p/self/comm; umount p t d`)
		spec.APIMounts = api
		if got := says(t, spec); got != "proc\ntmpfs\ndevpts\nagain\ncat" {
			t.Errorf("%s: %q", api, got)
		}
	}
}

// Each line is an attempt to harm; all must fail.
func TestUserNSWalls(t *testing.T) {
	root, onDisk := mappedRoot(t)
	if err := unix.Mknod(onDisk+"/bin/planted", unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))); err != nil {
		t.Fatal(err)
	}
	for _, attempt := range []string{
		"echo h >/proc/sysrq-trigger",
		"echo '|/bin/x' >/proc/sys/kernel/core_pattern",
		"echo 1 >/proc/sys/vm/drop_caches",
		"mkdir /tmp/q; mount -t proc q /tmp/q && echo h >/tmp/q/sysrq-trigger",
		"mount -o remount,rw /sys; echo x >/sys/kernel/uevent_helper || echo x >/sys/power/state",
		"mknod /tmp/disk b 7 0",
		"mknod /dev/disk b 7 0",
		"mount -t devtmpfs d /tmp",
		"mount -o remount,dev,bind / && cat /bin/planted",
		"umount /proc && ls /proc/1/root/",
		"ls /proc/1/root/usr/bin/firmwared /proc/*/root/etc/hostname",
		"head -c1 /dev/mem",
		"dd if=/dev/zero of=/proc/kcore bs=1 count=1",
	} {
		if stdout, _, exit := run(t, inUserNS(root, "("+attempt+") 2>/dev/null")); exit.Status() == 0 {
			t.Errorf("%s: succeeds, %q", attempt, stdout)
		}
	}
}

func TestUserNSBindShowsOwners(t *testing.T) {
	root, _ := mappedRoot(t)
	host := t.TempDir()
	sandboxtest.Write(t, host+"/file", "from the host\n", 0o600)
	spec := inUserNS(root, "stat -c %u /shared/file; cat /shared/file; touch /shared/made")
	spec.Binds = []Bind{{Source: host, Target: "/shared"}}
	if got := says(t, spec); got != "0\nfrom the host" {
		t.Errorf("%q", got)
	}
	var st unix.Stat_t
	if err := unix.Stat(host+"/made", &st); err != nil || st.Uid != 0 {
		t.Errorf("what it made belongs to %d: %v", st.Uid, err)
	}
}

func TestUserNSTerminal(t *testing.T) {
	root, _ := mappedRoot(t)
	spec := inUserNS(root, "stty size; tty; echo end")
	spec.Terminal, spec.Rows, spec.Cols = true, 33, 99
	p, err := begin(t, spec)
	if err != nil {
		t.Fatal(err)
	}
	if got := readUntil(t, p.Console, "end"); !strings.Contains(got, "33 99") {
		t.Errorf("%q", got)
	}
	waitFor(t, p)
}

func TestUserNSErrors(t *testing.T) {
	for _, ids := range []*IDs{{}, {First: 0, Count: 5}, {First: 4294967295, Count: 2}} {
		spec := Spec{Root: "/", Args: []string{"x"}, IDs: ids}
		if err := spec.Validate(); err == nil || !strings.Contains(err.Error(), "no range") {
			t.Errorf("%+v: %v", ids, err)
		}
	}
	_, err := begin(t, inUserNS(t.TempDir(), "true"))
	if err == nil || !strings.Contains(err.Error(), "not a mount point") {
		t.Errorf("%v", err)
	}
	root, _ := mappedRoot(t)
	spec := inUserNS(root, "true")
	spec.Args = []string{"nosuch"}
	var exec *ExecError
	if _, err := begin(t, spec); !errors.As(err, &exec) || exec.Status() != 127 {
		t.Errorf("%v", err)
	}
	if cwd, _ := os.Getwd(); strings.HasPrefix(cwd, root) {
		t.Error("the caller's working directory moved")
	}
}
