// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// machineFS are file systems of which there is one for the whole machine.
var machineFS = []string{"debugfs", "tracefs", "securityfs", "configfs", "efivarfs", "pstore", "fusectl", "selinuxfs"}

func mounts() []attempt {
	var list []attempt
	for _, fstype := range machineFS {
		list = append(list, attempt{"mount-" + fstype, "mount the machine's " + fstype, func() result {
			return mounted(fstype, "", func(dir string) result {
				_, err := os.ReadDir(dir)
				return judge(err)
			})
		}})
	}
	return append(list,
		attempt{"mount-binfmt", "register a program that the machine runs for a kind of file", func() result {
			return mounted("binfmt_misc", "", func(dir string) result {
				if err := openFor(dir+"/register", unix.O_WRONLY); err != nil {
					return judge(err)
				}
				if inUserNamespace() {
					// Linux 6.7 and newer; older ones refuse the mount.
					return blocked("one of the user namespace's own")
				}
				return open("")
			})
		}},
		attempt{"mount-cgroup", "mount a cgroup hierarchy of version 1 and reach its release agent", func() result {
			return mounted("cgroup", "none,name=firmwared_escape", func(dir string) result { return writeBack(dir + "/release_agent") })
		}},
		attempt{"mount-beneath", "unmount what covers the machine's files", mountsLeft},
		attempt{"mount-root", "unmount the root and see what is beneath", func() result {
			if err := unix.Unmount("/", unix.MNT_DETACH); err != nil && !isOneOf(err, append(refused, unix.EINVAL, unix.EBUSY)) {
				return broken("%v", err)
			}
			return secret("/")
		}},
		attempt{"mount-namespace", "look for the machine's mounts in the mount table", foreignMounts},
	)
}

// foreignMounts: all that an instance has are its root and what is mounted below
// /dev, /proc and /sys.
func foreignMounts() result {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return broken("%v", err)
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 5 {
			return broken("%q", scanner.Text())
		}
		top, _, _ := strings.Cut(strings.TrimPrefix(fields[4], "/"), "/")
		switch top {
		case "", "dev", "proc", "sys":
		default:
			return open("%s", fields[4])
		}
	}
	return blocked("only its own")
}

// mountsLeft takes off all that can be taken off, and looks again.
func mountsLeft() result {
	for range 20 {
		for _, at := range []string{"/dev/pts", "/dev/shm", "/dev/mqueue", "/dev/console", "/dev", "/sys/fs/cgroup", "/sys", "/proc", "/"} {
			_ = unix.Unmount(at, unix.MNT_DETACH)
		}
	}
	if err := openFor("/dev/full", unix.O_RDWR); err == nil {
		if r := secret("/"); r.verdict != "blocked" {
			return r
		}
	}
	return secret("/")
}

// secret looks, from dir on, for the file that the machine's side made.
func secret(dir string) result {
	path := os.Getenv("ESCAPE_SECRET")
	if path == "" {
		return broken("ESCAPE_SECRET is not set")
	}
	for up := dir; len(up) < len(dir)+60; up += "/.." {
		if _, err := os.Stat(up + path); err == nil {
			return open("%s", up)
		}
	}
	return blocked("not found")
}

func newMountCalls() []attempt {
	// Below a mount that is attached nowhere names do not begin where rules expect it.
	detached := func(fstype string, use func(root string) result) func() result {
		return func() result {
			root, err := detachedMount(fstype)
			if err != nil {
				return judge(err)
			}
			defer unix.Close(root)
			return use(fmt.Sprintf("/proc/self/fd/%d", root))
		}
	}
	return []attempt{
		{"new-calls-debugfs", "mount debugfs by the new mount calls", detached("debugfs", func(root string) result {
			_, err := os.ReadDir(root)
			return judge(err)
		})},
		{"new-calls-proc", "change core_pattern in a procfs that is mounted nowhere", detached("proc", func(root string) result {
			return writeBack(root + "/sys/kernel/core_pattern")
		})},
		{"new-calls-sysfs", "open the file that puts the machine to sleep in a sysfs that is mounted nowhere", detached("sysfs", func(root string) result {
			return judge(openFor(root+"/power/state", unix.O_WRONLY))
		})},
		{"open-tree", "reach core_pattern in a copy of its directory that is mounted nowhere", func() result {
			tree, err := unix.OpenTree(unix.AT_FDCWD, "/proc/sys/kernel", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
			if err != nil {
				return judge(err)
			}
			defer unix.Close(tree)
			return writeBack(fmt.Sprintf("/proc/self/fd/%d/core_pattern", tree))
		}},
		{"namespace-of-user", "change core_pattern from a user namespace made inside", nested},
	}
}

func detachedMount(fstype string) (int, error) {
	fs, err := unix.Fsopen(fstype, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return -1, err
	}
	defer unix.Close(fs)
	if err := unix.FsconfigCreate(fs); err != nil {
		return -1, err
	}
	return unix.Fsmount(fs, unix.FSMOUNT_CLOEXEC, 0)
}
