// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

func kernelLog() []attempt {
	node := func(flags int, then func(path string) error) func() result {
		return func() result {
			return withNode(unix.S_IFCHR, 1, 11, func(path string) result {
				if err := openFor(path, flags); err != nil {
					return judge(err)
				}
				return judge(then(path))
			})
		}
	}
	return []attempt{
		{"log-call", "read the machine's kernel log by syslog(2)", func() result {
			const readAll = 3
			_, err := unix.Klogctl(readAll, make([]byte, 64))
			return judge(err)
		}},
		{"log-proc", "open /proc/kmsg, whose reader takes messages away from the machine's own", func() result {
			return judge(openFor("/proc/kmsg", unix.O_RDONLY))
		}},
		{"log-bind", "the same through a bind of the file under another name", func() result {
			return boundFile("/proc/kmsg", func(path string) result { return judge(openFor(path, unix.O_RDONLY)) })
		}},
		{"log-node-read", "read the kernel log by a node like /dev/kmsg", node(unix.O_RDONLY, func(string) error { return nil })},
		{"log-node-write", "write into the kernel log by a node like /dev/kmsg", node(unix.O_WRONLY, func(path string) error {
			return write(path, []byte("a test of firmwared writes this line\n"))
		})},
	}
}

// withNode makes a node under an innocent name on a file system that was mounted
// for it, without nodev.
func withNode(kind uint32, major, minor uint32, use func(path string) result) result {
	return mounted("tmpfs", "", func(dir string) result { return nodeIn(dir, kind, major, minor, use) })
}

func nodeIn(dir string, kind, major, minor uint32, use func(path string) result) result {
	path := filepath.Join(dir, "innocent")
	if err := unix.Mknod(path, kind|0o600, int(unix.Mkdev(major, minor))); err != nil {
		return judge(err)
	}
	defer os.Remove(path)
	return use(path)
}

// disk is the first block device of the machine that is no loop device.
func disk() (major, minor uint32, err error) {
	file, err := os.Open("/proc/partitions")
	if err != nil {
		return 0, 0, err
	}
	defer file.Close()
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		var blocks uint64
		var name string
		n, _ := fmt.Sscan(scanner.Text(), &major, &minor, &blocks, &name)
		if n == 4 && !strings.HasPrefix(name, "loop") && !strings.HasPrefix(name, "ram") && !strings.HasPrefix(name, "zram") {
			return major, minor, nil
		}
	}
	return 0, 0, errors.New("no disk")
}

// onDisk makes a node of the machine's disk in dir, or on a new file system
// where dir is "".
func onDisk(dir string, use func(path string) result) func() result {
	return func() result {
		major, minor, err := disk()
		if err != nil {
			return absent("%v", err)
		}
		if dir == "" {
			return withNode(unix.S_IFBLK, major, minor, use)
		}
		return nodeIn(dir, unix.S_IFBLK, major, minor, use)
	}
}

func devices() []attempt {
	readable := func(path string) result { return judge(openFor(path, unix.O_RDONLY)) }
	list := []attempt{
		{"disk", "open the machine's disk by a node made under an innocent name", onDisk("", readable)},
		{"disk-in-dev", "the same in /dev", onDisk("/dev", readable)},
		{"disk-in-root", "the same in the firmware's own file system", onDisk("/", readable)},
		{"disk-remount", "the same after taking nodev from /dev", func() result {
			if err := unix.Mount("", "/dev", "", unix.MS_REMOUNT|unix.MS_BIND, ""); err != nil {
				return judge(err)
			}
			return onDisk("/dev", readable)()
		}},
		{"disk-write", "open the disk for writing", onDisk("", func(path string) result { return judge(openFor(path, unix.O_WRONLY)) })},
		{"disk-mount", "mount the disk", onDisk("", mountDisk)},
		{"disk-group", "allow oneself the disk in the cgroup of version 1, then open it", func() result {
			return mounted("cgroup", "devices", func(dir string) result {
				if err := write(dir+"/devices.allow", []byte("a")); err != nil {
					return judge(err)
				}
				return onDisk("", readable)()
			})
		}},
		{"all-disks", "open every block device of the machine, those of other instances included", allDisks},
		{"devtmpfs", "mount the machine's /dev", func() result {
			return mounted("devtmpfs", "", func(dir string) result { return judge(openFor(dir+"/null", unix.O_RDWR)) })
		}},
	}
	for _, node := range []struct {
		name, what   string
		major, minor uint32
	}{
		{"mem", "physical memory, /dev/mem", 1, 1},
		{"kmem", "kernel memory, /dev/kmem", 1, 2},
		{"port", "I/O ports, /dev/port", 1, 4},
		{"system-console", "the machine's console", 5, 1},
		{"terminal", "a virtual terminal of the machine", 4, 1},
		{"serial", "a serial port of the machine", 4, 64},
		{"loop-control", "the maker of loop devices", 10, 237},
		{"device-mapper", "the device mapper", 10, 236},
		{"nvram", "the PC's CMOS memory", 10, 144},
		{"hpet", "the PC's timer", 10, 228},
		{"uinput", "a keyboard that types on the machine", 10, 223},
		{"kvm", "the machine's virtualisation", 10, 232},
		{"tun", "the maker of network interfaces", 10, 200},
		{"fuse", "the machine's FUSE device", 10, 229},
		{"rfkill", "the radio switches", 10, 242},
		{"vsock", "the hypervisor's sockets", 10, 241},
		{"cpu-registers", "a CPU's registers (msr)", 202, 0},
		{"input", "a keyboard or mouse", 13, 64},
		{"graphics", "the graphics card", 226, 0},
		{"framebuffer", "the screen", 29, 0},
	} {
		list = append(list, attempt{"dev-" + node.name, "open " + node.what, func() result {
			return withNode(unix.S_IFCHR, node.major, node.minor, readable)
		}})
	}
	return list
}

// mountDisk: read-only and without replaying a journal. That the disk is busy, or
// is no ext4, is only found by opening it.
func mountDisk(node string) result {
	return within(func(dir string) result {
		err := unix.Mount(node, dir, "ext4", unix.MS_RDONLY, "noload")
		if err == nil {
			_ = unix.Unmount(dir, unix.MNT_DETACH)
			return open("mounted")
		}
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINVAL) {
			return open("opened, but %v", err)
		}
		return judge(err)
	})
}

func allDisks() result {
	entries, err := os.ReadDir("/sys/dev/block")
	if err != nil {
		return judge(err)
	}
	opened, last := 0, absent("none can be made")
	for _, entry := range entries {
		var major, minor uint32
		if _, err := fmt.Sscanf(entry.Name(), "%d:%d", &major, &minor); err != nil {
			return broken("%v", err)
		}
		r := withNode(unix.S_IFBLK, major, minor, func(path string) result { return judge(openFor(path, unix.O_RDONLY)) })
		if r.verdict == "open" {
			opened++
		} else if r.verdict != "n/a" || last.verdict == "n/a" {
			last = r
		}
	}
	if opened > 0 {
		return open("%d of %d", opened, len(entries))
	}
	return last
}
