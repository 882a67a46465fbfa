// SPDX-License-Identifier: Apache-2.0

package apparmor

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// EnterAtExec makes the calling thread change into a profile at its next
// execve(2). proc is the root of a procfs of the thread's own pid namespace, by
// descriptor: a path could have been bent. To be called last: the kernel wants
// the attribute opened and written with the same credentials, by the thread
// itself.
func EnterAtExec(proc int, name string) error {
	fd, err := openAttr(proc)
	if err != nil {
		return fmt.Errorf("cannot enter AppArmor profile %s: %w", name, err)
	}
	defer unix.Close(fd)
	if _, err := unix.Write(fd, []byte("exec "+name)); err != nil {
		if errors.Is(err, unix.ENOENT) {
			err = errors.New("it is not loaded")
		}
		return fmt.Errorf("cannot enter AppArmor profile %s: %w", name, err)
	}
	return nil
}

// attrPaths: attr/exec belongs to the first security module that wants it; the
// directory of AppArmor's own came with Linux 5.8.
var attrPaths = []string{"thread-self/attr/apparmor/exec", "thread-self/attr/exec"}

func openAttr(proc int) (int, error) {
	for _, path := range attrPaths {
		fd, err := unix.Openat(proc, path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return -1, err
		}
		// An overmounted or bent path would swallow the order (CVE-2019-19921).
		var fs unix.Statfs_t
		if err := unix.Fstatfs(fd, &fs); err != nil || fs.Type != unix.PROC_SUPER_MAGIC {
			unix.Close(fd)
			return -1, errors.Join(errors.New("its procfs is none"), err)
		}
		return fd, nil
	}
	return -1, errors.New("this kernel has no AppArmor")
}

// CheckLabel compares what a process runs under with the profile that it was to
// enter.
func CheckLabel(pid int, name string) error {
	label, err := Label(pid)
	if err != nil {
		return err
	}
	if label != name+" (enforce)" {
		return fmt.Errorf("process %d runs under AppArmor label %q instead of profile %s", pid, label, name)
	}
	return nil
}
