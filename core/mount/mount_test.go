// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tmpfs mounts one for the test and returns its mount point.
func tmpfs(t *testing.T, dir string) string {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("test", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for !Free(dir) {
			if err := Unmount(dir); err != nil {
				t.Fatal(err)
			}
		}
	})
	return dir
}

func write(t *testing.T, path string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestStatSeesMounts(t *testing.T) {
	dir := t.TempDir()
	if !Free(dir) || !Free(filepath.Join(dir, "missing")) {
		t.Error("a plain or missing directory is not free")
	}
	point := tmpfs(t, filepath.Join(dir, "m"))
	p, err := Stat(point)
	if err != nil || !p.Root || p.ReadOnly || p.ID == 0 {
		t.Errorf("Stat of a mount: %+v, %v", p, err)
	}
	if !Is(point, p.ID) || Is(point, p.ID+1) || Is(dir, p.ID) {
		t.Error("Is does not tell mounts apart")
	}
	if err := unix.Mount("", point, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if p, _ := Stat(point); !p.ReadOnly {
		t.Error("a read-only bind is not seen as read-only")
	}
}

func TestStatDoesNotFollowLinks(t *testing.T) {
	dir := t.TempDir()
	point := tmpfs(t, filepath.Join(dir, "m"))
	link := filepath.Join(dir, "link")
	if err := os.Symlink(point, link); err != nil {
		t.Fatal(err)
	}
	if !Free(link) {
		t.Error("a link to a mount point counts as one")
	}
}

func TestBindSharedReachesCopies(t *testing.T) {
	dir := t.TempDir()
	state := filepath.Join(dir, "state")
	write(t, filepath.Join(state, "union", "f"))
	id, err := BindShared(state, state)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Unmount(state) })
	if !Is(state, id) {
		t.Error("the id is not the new mount's")
	}
	union := filepath.Join(state, "union")
	if err := unix.Mount("test", union, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	// Another namespace takes a copy, then the mount goes away here: the copy
	// must not keep it.
	copyOf := exec.Command("unshare", "-m", "--propagation", "slave", "sh", "-c",
		`echo ready; read line; grep -c "$0" /proc/self/mountinfo`, union)
	in, _ := copyOf.StdinPipe()
	out, _ := copyOf.StdoutPipe()
	if err := copyOf.Start(); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 6)
	if _, err := out.Read(buf); err != nil {
		t.Fatal(err)
	}
	if err := Unmount(union); err != nil {
		t.Error(err)
	}
	in.Close()
	rest := make([]byte, 8)
	n, _ := out.Read(rest)
	_ = copyOf.Wait()
	if got := strings.TrimSpace(string(rest[:n])); got != "0" {
		t.Errorf("the copy still has %s mounts", got)
	}
}

func TestBelowListsDeepestFirst(t *testing.T) {
	dir, _ := filepath.EvalSymlinks(t.TempDir())
	tmpfs(t, filepath.Join(dir, "a"))
	tmpfs(t, filepath.Join(dir, "a", "b c\n"))
	got, err := Below(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{filepath.Join(dir, "a", "b c\n"), filepath.Join(dir, "a")}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHoldersNamesTheProcess(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("sleep", "60")
	cmd.Dir = dir
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	found := Holders(dir)
	if len(found) != 1 || found[0].PID != cmd.Process.Pid {
		t.Errorf("holders of %s: %v", dir, found)
	}
}

func TestRemoveAll(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	outside := filepath.Join(dir, "outside", "kept")
	write(t, outside)
	for _, f := range []string{"a", "b/c", "b/d/e", "b/.removing-1/x", ".removing-2/y/z", "n\nl/*"} {
		write(t, filepath.Join(tree, f))
	}
	if err := os.Symlink(filepath.Dir(outside), filepath.Join(tree, "b", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere", filepath.Join(tree, "dangling")); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the second time it is gone already
		if err := RemoveAll(tree); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Lstat(tree); !os.IsNotExist(err) {
		t.Error("the tree is still there")
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error("a link was followed")
	}
}

func TestRemoveAllOfAnyDepth(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	if err := os.Mkdir(tree, 0o755); err != nil {
		t.Fatal(err)
	}
	// Far deeper than PATH_MAX and than the descriptors a process may have.
	fd, err := unix.Open(tree, unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range 5000 {
		if err := unix.Mkdirat(fd, "deeper", 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(fd, "deeper", unix.O_DIRECTORY, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(fd)
		fd = next
	}
	unix.Close(fd)
	if err := RemoveAll(tree); err != nil {
		t.Fatal(err)
	}
}

func TestRemoveAllStopsAtMounts(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	for _, point := range []string{"m", "a/b/m"} {
		kept := filepath.Join(tmpfs(t, filepath.Join(tree, point)), "kept")
		write(t, kept)
		if err := RemoveAll(tree); err == nil {
			t.Errorf("deleted a tree with a mount at %s", point)
		}
		found := false
		points, _ := Below(tree)
		for _, p := range points {
			_, err := os.Stat(filepath.Join(p, "kept"))
			found = found || err == nil
		}
		if !found {
			t.Errorf("what was mounted at %s is gone", point)
		}
		for _, p := range points {
			if err := Unmount(p); err != nil {
				t.Fatal(err)
			}
		}
		if err := RemoveAll(tree); err != nil {
			t.Error(err)
		}
	}
}

func TestRemoveAllTakesImmutableOff(t *testing.T) {
	dir := t.TempDir()
	tree := filepath.Join(dir, "tree")
	file := filepath.Join(tree, "d", "f")
	write(t, file)
	for _, path := range []string{file, filepath.Dir(file)} {
		if out, err := exec.Command("chattr", "+i", path).CombinedOutput(); err != nil {
			t.Fatalf("chattr: %v: %s", err, out)
		}
	}
	if err := RemoveAll(tree); err != nil {
		t.Fatal(err)
	}
}

func TestSourceIsOfTheTopmostMount(t *testing.T) {
	dir, _ := filepath.EvalSymlinks(t.TempDir())
	point := tmpfs(t, filepath.Join(dir, "m"))
	write(t, filepath.Join(point, "d", "f"))
	if got, err := Source(filepath.Join(point, "d")); err != nil || got != "test" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := Source(dir); err != nil || got == "test" {
		t.Errorf("beside the mount: got %q, %v", got, err)
	}
	if err := unix.Mount("upper", point, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	if got, err := Source(filepath.Join(point, "gone")); err != nil || got != "upper" {
		t.Errorf("got %q, %v", got, err)
	}
}
