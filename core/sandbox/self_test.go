// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"

	"firmwared/core/sandbox/sandboxtest"
)

func TestAsideOf(t *testing.T) {
	for _, test := range []struct {
		open []int
		want int
	}{
		{[]int{0, 1, 2, 3}, 10},
		{[]int{0, 1, 2, 9}, 20},
		{[]int{0, 1, 2, 3, 251}, 12},     // far above
		{[]int{0, 1, 2, 10, 22, 30}, 62}, // each in the way of the one before
		{[]int{0, 1, 2, 3, 12}, 26},      // just there
	} {
		if at := asideOf(test.open); at != test.want {
			t.Errorf("%v: %d instead of %d", test.open, at, test.want)
		}
	}
}

// The program that the stage runs can be run, and written by nobody: not through
// /proc, which is how an instance would come by it.
func TestGuardedSelf(t *testing.T) {
	path := t.TempDir() + "/program"
	sandboxtest.Write(t, path, "#!/bin/sh\necho ran\n", 0o755)
	for name, guard := range map[string]func(string) (*os.File, error){"clone": readOnlyClone, "copy": sealedCopy} {
		other, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		defer other.Close()
		file, err := guard(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		again := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
		if file.Fd() <= other.Fd() {
			t.Errorf("%s: descriptor %d is in a child's way", name, file.Fd())
		}
		fd, err := unix.Open(again, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err == nil {
			_, err = unix.Write(fd, []byte("harm"))
			unix.Close(fd)
		}
		if !errors.Is(err, unix.EROFS) && !errors.Is(err, unix.EPERM) {
			t.Errorf("%s can be written: %v", name, err)
		}
		if text, err := os.ReadFile(again); err != nil || string(text) != "#!/bin/sh\necho ran\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	// The one that is used.
	file, err := guardedProgram(ownProgram)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", file.Fd()), "-test.run=^$")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(int(file.Fd()), &fs); err != nil || fs.Flags&unix.ST_RDONLY == 0 {
		t.Errorf("flags %x, %v", fs.Flags, err)
	}
}
