// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func du(t *testing.T, dir string, args ...string) (n int64) {
	t.Helper()
	out, err := exec.Command("du", append(args, "-s", "-x", dir)...).Output()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(out), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestMeasure compares with du, on a tree with hard links, holes, a link that leads out and a mount.
func TestMeasure(t *testing.T) {
	dir := t.TempDir()
	_, err := exec.Command("/bin/sh", "-ec", `cd "$1"; mkdir -p a/b/c mnt; head -c 300000 /dev/zero >a/file; ln a/file a/b/again
		truncate -s 1G hole; ln -s / out; ln -s /usr a/b/c/usr; mkfifo pipe; echo x >a/b/c/small`, "sh", dir).Output()
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("tmpfs", dir+"/mnt", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(dir+"/mnt", 0)
	if err := os.WriteFile(dir+"/mnt/elsewhere", make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := Measure(dir, time.Minute)
	if err != nil || u.Partial || u.Bytes != du(t, dir, "--block-size=1") || u.Inodes != du(t, dir, "--inodes") {
		t.Errorf("%+v, %v; du says %d bytes, %d inodes", u, err, du(t, dir, "--block-size=1"), du(t, dir, "--inodes"))
	}
	if u, err := Measure(dir, -1); err != nil || !u.Partial {
		t.Errorf("without time: %+v, %v", u, err)
	}
	if _, err := Measure(dir+"/out", time.Minute); err == nil {
		t.Error("a link was followed")
	}
}

func TestMeasureOfADeepTree(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(dir+strings.Repeat("/d", maxDepth+50), 0o700); err != nil {
		t.Fatal(err)
	}
	if u, err := Measure(dir, time.Minute); err != nil || !u.Partial || u.Inodes < maxDepth {
		t.Errorf("%+v, %v", u, err)
	}
}
