// SPDX-License-Identifier: Apache-2.0

// Package sandboxtest makes root file systems for the tests of the packages that
// start instances. It needs root and a static busybox.
package sandboxtest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Limit bounds every wait of a test.
const Limit = 20 * time.Second

const applets = "sh true cat ls id env pwd sleep kill stty mount ip hostname wc touch stat readlink grep " +
	"poweroff reboot head yes umask dd tr setsid"

// Root is a tmpfs with one static busybox, empty mount points and two users. At
// the test's end it must not be in use any more.
func Root(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Fatal("these tests need root")
	}
	root := t.TempDir()
	if err := unix.Mount("tmpfs", root, "tmpfs", 0, "mode=755"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(root, 0); err != nil {
			t.Errorf("root is still in use: %v", err)
			_ = unix.Unmount(root, unix.MNT_DETACH)
		}
	})
	for _, dir := range []string{"bin", "dev", "proc", "sys", "etc", "tmp"} {
		if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	busybox, err := os.ReadFile("/bin/busybox")
	if err != nil {
		t.Fatal(err)
	}
	Write(t, filepath.Join(root, "bin/busybox"), string(busybox), 0o755)
	for _, applet := range strings.Fields(applets) {
		if err := os.Symlink("busybox", filepath.Join(root, "bin", applet)); err != nil {
			t.Fatal(err)
		}
	}
	Write(t, filepath.Join(root, "etc/passwd"), "root:x:0:0::/root:/bin/sh\nalice:x:1000:1001::/home/alice:/bin/sh\n", 0o644)
	Write(t, filepath.Join(root, "etc/group"), "root:x:0:\nstaff:x:1001:\nvideo:x:44:alice\n", 0o644)
	return root
}

// Write makes a file with exactly this mode.
func Write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// Poll waits until done is true.
func Poll(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(Limit); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %s", what)
		}
	}
}
