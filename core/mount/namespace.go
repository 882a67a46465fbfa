// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Namespace is the inode number of the mount namespace of a process, given as
// its directory in /proc.
func Namespace(proc string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(proc, "ns/mnt"), &st); err != nil {
		return 0, fmt.Errorf("cannot look at the mount namespace of %s: %w", proc, err)
	}
	return st.Ino, nil
}

// Member returns the /proc directory of a process in mount namespace ns, pid 1
// by preference, or "" when none is seen.
func Member(ns uint64) string {
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range append([]string{"/proc/1"}, procs...) {
		if other, err := Namespace(proc); err == nil && other == ns {
			return proc
		}
	}
	return ""
}

// Reexec runs this program again, with the same arguments and environment plus
// extra, in the mount namespace of the process whose /proc directory is given.
// It does not return unless it fails. A running Go program cannot change its
// mount namespace otherwise: setns(2) refuses one whose threads share their
// root and working directory, so one thread leaves that sharing, changes and
// replaces the whole process. The working directory is kept by path where the
// other namespace has it, else it is /.
func Reexec(proc string, extra ...string) error {
	cwd, _ := os.Getwd()
	runtime.LockOSThread()
	ns, err := os.Open(filepath.Join(proc, "ns/mnt"))
	if err != nil {
		return fmt.Errorf("cannot open a mount namespace: %w", err)
	}
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		return fmt.Errorf("cannot open this program: %w", err)
	}
	if err := unix.Unshare(unix.CLONE_FS); err != nil {
		return fmt.Errorf("cannot unshare the working directory: %w", err)
	}
	if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("cannot join the mount namespace of %s: %w", proc, err)
	}
	if cwd == "" || unix.Chdir(cwd) != nil {
		_ = unix.Chdir("/")
	}
	exe := fmt.Sprintf("/proc/self/fd/%d", self.Fd())
	err = unix.Exec(exe, os.Args, append(os.Environ(), extra...))
	return fmt.Errorf("cannot run this program in another mount namespace: %w", err)
}
