// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// userNS is the number of a process's user namespace.
func userNS(t *testing.T, pid int) uint64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(fmt.Sprintf("/proc/%d/ns/user", pid), &st); err != nil {
		t.Fatal(err)
	}
	return st.Ino
}

func TestKeepers(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for name, start := range map[string]func() (*os.Process, error){"own": startKeeper, "fork": keeperByFork} {
		keeper, err := start()
		if err != nil {
			t.Fatal(name, err)
		}
		if userNS(t, keeper.Pid) == userNS(t, os.Getpid()) {
			t.Errorf("%s: the user namespace is this process's", name)
		}
		_ = keeper.Kill()
		if state, err := keeper.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
			t.Errorf("%s: %v, %v", name, state, err)
		}
	}
}
