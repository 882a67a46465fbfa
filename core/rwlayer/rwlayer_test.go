// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func mkdir(t *testing.T, elem ...string) string {
	t.Helper()
	dir := filepath.Join(elem...)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestMakeLooksLikeTheLower(t *testing.T) {
	dir := t.TempDir()
	lower, rw := mkdir(t, dir, "lower"), filepath.Join(dir, "rw")
	then := time.Unix(1234567890, 0)
	for _, err := range []error{
		unix.Lsetxattr(lower, "user.note", []byte("kept"), 0),
		unix.Lsetxattr(lower, "trusted.overlay.opaque", []byte("y"), 0),
		os.Chown(lower, 12, 34),
		os.Chmod(lower, 0o751|os.ModeSticky|os.ModeSetgid),
		os.Chtimes(lower, then, then),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := Make(rw, lower); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(rw)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid != 12 || st.Gid != 34 || info.Mode().Perm() != 0o751 || info.Mode()&os.ModeSticky == 0 || info.Mode()&os.ModeSetgid == 0 || !info.ModTime().Equal(then) {
		t.Errorf("rw is %v of %d:%d, %v", info.Mode(), st.Uid, st.Gid, info.ModTime())
	}
	value := make([]byte, 16)
	if n, err := unix.Lgetxattr(rw, "user.note", value); err != nil || string(value[:n]) != "kept" {
		t.Errorf("attribute: %q, %v", value[:max(n, 0)], err)
	}
	if _, err := unix.Lgetxattr(rw, "trusted.overlay.opaque", value); err != unix.ENODATA {
		t.Errorf("an overlay's own attribute was copied: %v", err)
	}
	// One that is there is the instance's.
	if err := os.Chmod(rw, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Make(rw, lower); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(rw); info.Mode().Perm() != 0o700 {
		t.Error("a rw layer that was there was changed")
	}
}

func TestVerify(t *testing.T) {
	dir := t.TempDir()
	lower, rw, work, union := mkdir(t, dir, "lower"), mkdir(t, dir, "rw"), mkdir(t, dir, "work"), mkdir(t, dir, "union")
	other := mkdir(t, dir, "other")
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", lower, rw, work)
	if err := unix.Mount("test", union, "overlay", 0, options); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(union, 0); err != nil {
			t.Error(err)
		}
	})
	before, _ := os.Stat(union)
	if err := Verify(union, rw); err != nil {
		t.Error(err)
	}
	if after, _ := os.Stat(union); !after.ModTime().Equal(before.ModTime()) {
		t.Error("the root's time was changed")
	}
	if entries, _ := os.ReadDir(rw); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
	if _, err := unix.Lgetxattr(rw, probe, nil); err != unix.ENODATA {
		t.Errorf("the probe is left: %v", err)
	}
	if Verify(union, other) == nil {
		t.Error("took another directory for the upper")
	}
	if err := unix.Mount("", union, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	if Verify(union, rw) == nil {
		t.Error("took a read-only union for a writable one")
	}
}
