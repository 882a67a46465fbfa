// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// sysrq asks for the help text of the magic keys, in the machine's kernel log.
func sysrq(path string) result { return judge(write(path, []byte("h"))) }

func kernelFiles() []attempt {
	same := func(path string) func() result { return func() result { return writeBack(path) } }
	list := []attempt{
		{"sysrq", "press a magic key by /proc/sysrq-trigger", func() result { return sysrq("/proc/sysrq-trigger") }},
		{"sysrq-elsewhere", "the same in a procfs mounted under another name", func() result {
			return mounted("proc", "", func(dir string) result { return sysrq(dir + "/sysrq-trigger") })
		}},
		{"sysrq-bind", "the same through a bind of the file under another name", func() result {
			return boundFile("/proc/sysrq-trigger", sysrq)
		}},
		{"sysrq-descriptor", "the same below a descriptor of a procfs that is mounted nowhere any more", func() result {
			return mounted("proc", "", func(dir string) result {
				fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
				if err == nil {
					err = unix.Unmount(dir, unix.MNT_DETACH)
				}
				if err != nil {
					return judge(err)
				}
				return sysrq(fmt.Sprintf("/proc/self/fd/%d/sysrq-trigger", fd))
			})
		}},
		{"sysrq-chroot", "the same from a chroot whose procfs is not called proc", func() result {
			return mounted("tmpfs", "", func(dir string) result {
				if err := os.Mkdir(dir+"/x", 0o755); err != nil {
					return broken("%v", err)
				}
				if err := unix.Mount("proc", dir+"/x", "proc", 0, ""); err != nil {
					return judge(err)
				}
				if err := unix.Chroot(dir); err != nil {
					return judge(err)
				}
				return sysrq("/x/sysrq-trigger")
			})
		}},
		{"core-pattern", "choose the program that the kernel runs for a crash", same("/proc/sys/kernel/core_pattern")},
		{"core-pattern-elsewhere", "the same in a procfs mounted under another name", func() result {
			return mounted("proc", "", func(dir string) result { return writeBack(dir + "/sys/kernel/core_pattern") })
		}},
		{"core-pattern-bind", "the same through a bind of its directory onto a place where writing is allowed", func() result {
			return bound("/proc/sys/kernel", "/sys/fs/cgroup", func(at string) result { return writeBack(at + "/core_pattern") })
		}},
		{"core-pattern-net", "the same through a bind onto /proc/sys/net", func() result {
			return bound("/proc/sys/kernel", "/proc/sys/net", func(at string) result { return writeBack(at + "/core_pattern") })
		}},
		{"modprobe-path", "choose the program that the kernel runs to load a module", same("/proc/sys/kernel/modprobe")},
		{"hotplug-path", "choose the program that the kernel runs for a new device", same("/proc/sys/kernel/hotplug")},
		{"poweroff-command", "choose the program that the kernel runs to power off", same("/proc/sys/kernel/poweroff_cmd")},
		{"uevent-helper", "the same through sysfs", func() result { return judgeSys(writeBack("/sys/kernel/uevent_helper")) }},
		{"sysctl-vm", "change a setting of the memory management", same("/proc/sys/vm/overcommit_memory")},
		{"sysctl-fs", "change a setting of all file systems", same("/proc/sys/fs/suid_dumpable")},
		{"sysctl-kernel", "change what the kernel does after an oops", same("/proc/sys/kernel/panic_on_oops")},
		{"sysctl-dev", "change a setting of a driver", same("/proc/sys/dev/tty/ldisc_autoload")},
		{"power-state", "open the file that puts the machine to sleep", func() result {
			return mounted("sysfs", "", func(dir string) result { return judge(openFor(dir+"/power/state", unix.O_WRONLY)) })
		}},
		{"power-state-remount", "the same after remounting /sys writable", func() result {
			if err := unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
				return judge(err)
			}
			return judge(openFor("/sys/power/state", unix.O_WRONLY))
		}},
		{"irq-affinity", "move an interrupt to another CPU", func() result { return judge(openFor("/proc/irq/default_smp_affinity", unix.O_WRONLY)) }},
		{"kcore", "read the machine's memory by /proc/kcore", func() result { return read("/proc/kcore") }},
		{"kernel-addresses", "learn where the kernel lies by /proc/kallsyms", kernelAddresses},
		{"page-counts", "learn about all memory pages", func() result { return read("/proc/kpagecount") }},
		{"slab-info", "learn about the kernel's allocations", func() result { return read("/proc/slabinfo") }},
		{"vmalloc-info", "learn the kernel's memory map", func() result { return read("/proc/vmallocinfo") }},
		{"timer-list", "learn what waits in the kernel", func() result { return read("/proc/timer_list") }},
		{"acpi-tables", "read the firmware tables of the PC", func() result { return readAny("/sys/firmware/acpi/tables") }},
		{"dmi-tables", "read the serial numbers of the PC", func() result { return readAny("/sys/firmware/dmi/tables") }},
	}
	return list
}

// judgeSys: the instance's /sys is read-only, also unconfined; the question is
// whether that can be undone.
func judgeSys(r result) result {
	if r.verdict != "blocked" {
		return r
	}
	return mounted("sysfs", "", func(dir string) result { return writeBack(dir + "/kernel/uevent_helper") })
}

func kernelAddresses() result {
	data, err := os.ReadFile("/proc/kallsyms")
	if err != nil {
		return judge(err)
	}
	line, _, _ := strings.Cut(string(data), "\n")
	address, _, _ := strings.Cut(line, " ")
	if address == "" {
		return absent("empty")
	}
	if strings.Trim(address, "0") == "" {
		return blocked("only zeros")
	}
	return open("")
}

// readAny reads the first file that lies directly in dir.
func readAny(dir string) result {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return judge(err)
	}
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			return read(filepath.Join(dir, entry.Name()))
		}
	}
	return absent("empty")
}

func sweeps() []attempt {
	return []attempt{
		{"sweep-sysctl", "open any machine-wide file of /proc/sys for writing", func() result {
			return mounted("proc", "", func(dir string) result { return sweep(dir+"/sys", ownSysctl) })
		}},
		{"sweep-proc", "open any other machine-wide file of procfs for writing", func() result {
			return mounted("proc", "", func(dir string) result { return sweep(dir, ownProc) })
		}},
		{"sweep-sysfs", "open any machine-wide file of sysfs for writing", func() result {
			return mounted("sysfs", "", func(dir string) result { return sweep(dir, ownSys) })
		}},
		{"sweep-sysfs-in-place", "the same in /sys after remounting it writable", func() result {
			if err := unix.Mount("", "/sys", "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
				return judge(err)
			}
			return sweep("/sys", ownSys)
		}},
	}
}

// ownSysctl tells what belongs to the instance's own namespaces: of net and mqueue all, of
// kernel the names and limits of the uts, ipc and pid namespaces, of user the limits of a user namespace of
// its own.
func ownSysctl(path string) bool {
	for _, prefix := range []string{"net/", "fs/mqueue/", "fs/binfmt_misc/", "kernel/hostname", "kernel/domainname", "kernel/msg", "kernel/sem",
		"kernel/shm", "kernel/auto_msgmni", "kernel/ns_last_pid", "kernel/pid_max"} {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return strings.HasPrefix(path, "user/") && inUserNamespace()
}

// ownProc tells processes, the network and what sweep-sysctl looks at.
func ownProc(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Trim(first, "0123456789") == "" || first == "self" || first == "thread-self" || first == "net" || first == "sys"
}

// ownSys tells what belongs to the network namespace, and leaves out most of the
// tens of thousands of files of devices: those of system stand for them.
func ownSys(path string) bool {
	return strings.HasPrefix(path, "devices/") && !strings.HasPrefix(path, "devices/system") || strings.HasPrefix(path, "fs/cgroup") ||
		strings.HasPrefix(path, "kernel/slab/") || strings.Contains(path, "net/")
}

// sweep only opens and closes: that alone changes nothing in these file systems.
func sweep(root string, own func(path string) bool) result {
	tried, opened, first := 0, 0, ""
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := strings.TrimPrefix(strings.TrimPrefix(path, root), "/")
		if entry == nil || name != "" && own(name) || err != nil {
			if entry != nil && entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		info, err := entry.Info()
		// What everybody may write to is made for that, as /proc/pressure.
		if err != nil || info.Mode()&0o222 == 0 || info.Mode()&0o002 != 0 {
			return nil
		}
		tried++
		if openFor(path, unix.O_WRONLY) == nil {
			if opened++; first == "" {
				first = name
			}
		}
		return nil
	})
	switch {
	case err != nil || tried == 0:
		return broken("tried %d files: %v", tried, err)
	case opened > 0:
		return open("%d of %d files, as %s", opened, tried, first)
	}
	return blocked("%d files", tried)
}
