// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// CVE-2024-21626: a working directory that is not below the root is refused,
// whatever led there.
func TestWorkingDirectoryOutsideIsRefused(t *testing.T) {
	root := t.TempDir()
	if err := os.Mkdir(root+"/inside", 0o755); err != nil {
		t.Fatal(err)
	}
	errs := make(chan map[string]error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with its root
		got := map[string]error{}
		err := unix.Unshare(unix.CLONE_FS)
		if err == nil {
			err = unix.Chdir("/")
		}
		if err == nil {
			err = unix.Chroot(root)
		}
		got["setup"] = err
		for _, cwd := range []string{".", "usr", "/inside"} { // the first two lie outside, as in a leaked directory
			s := &initStage{spec: &Spec{Cwd: cwd}}
			got[cwd] = s.enterCwd()
		}
		errs <- got
	}()
	got := <-errs
	if got["setup"] != nil || got["/inside"] != nil {
		t.Fatal(got["setup"], got["/inside"])
	}
	for _, cwd := range []string{".", "usr"} {
		if got[cwd] == nil || !strings.Contains(got[cwd].Error(), "outside the instance") {
			t.Errorf("%s: %v", cwd, got[cwd])
		}
	}
}
