// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// controllers of version 1, and cgroup2.
var hierarchies = []struct{ fstype, options string }{
	{"cgroup2", ""}, {"cgroup", "pids"}, {"cgroup", "memory"}, {"cgroup", "cpu"}, {"cgroup", "devices"}, {"cgroup", "freezer"}, {"cgroup", "blkio"},
	{"cgroup", "cpuset"}, {"cgroup", "cpuacct"}, {"cgroup", "none,name=systemd"},
}

func groups() []attempt {
	return []attempt{
		{"group-outside", "find cgroups of the machine", func() result {
			return eachHierarchy(func(dir string) result {
				// Only an instance's own inner groups can be here, and it has made none.
				found, err := filepath.Glob(dir + "/*/cgroup.procs")
				if err != nil || len(found) > 0 {
					return open("%v %v", found, err)
				}
				return blocked("none")
			})
		}},
		{"group-above", "move to a cgroup above one's own", func() result {
			data, err := os.ReadFile("/proc/self/cgroup")
			if err != nil {
				return broken("%v", err)
			}
			if strings.Contains(string(data), "/..") {
				return open("%s", data)
			}
			return eachHierarchy(func(dir string) result {
				err := write(dir+"/../cgroup.procs", []byte("0"))
				if errors.Is(err, unix.ENOENT) {
					return blocked("%v", err)
				}
				return judge(err)
			})
		}},
		{"release-agent", "choose the program that the machine runs when a cgroup is empty", func() result {
			return eachHierarchy(func(dir string) result {
				r := writeBack(dir + "/release_agent")
				if r.verdict == "n/a" {
					return blocked("not at the root of its cgroup namespace")
				}
				return r
			})
		}},
		{"limit-raise", "take off one's own limits, then make more processes than they allow", func() result {
			wrote := 0
			r := eachHierarchy(func(dir string) result {
				for _, file := range []string{"pids.max", "memory.max", "cpu.max", "cgroup.max.descendants"} {
					if write(filepath.Join(dir, file), []byte("max")) == nil {
						wrote++
					}
				}
				return blocked("")
			})
			if r.verdict == "broken" {
				return r
			}
			r = manyProcesses()
			r.detail += ", and wrote " + plural(wrote, "file")
			return r
		}},
	}
}

func itoa(n int) string { return strconv.Itoa(n) }

func plural(n int, word string) string {
	if n == 1 {
		return "1 " + word
	}
	return strings.Join([]string{itoa(n), word + "s"}, " ")
}

// eachHierarchy goes on until one is open; those that cannot be mounted count as
// blocked, if any was refused.
func eachHierarchy(use func(dir string) result) result {
	sum := absent("no cgroups")
	for _, h := range hierarchies {
		r := mounted(h.fstype, h.options, use)
		if r.verdict == "open" || r.verdict == "broken" {
			return r
		}
		if sum.verdict != "blocked" {
			sum = r
		}
	}
	return sum
}

func neighbours() []attempt {
	return []attempt{
		{"interfaces", "find network interfaces of the machine", func() result {
			list, err := net.Interfaces()
			if err != nil {
				return broken("%v", err)
			}
			for _, it := range list {
				// Of tunnels each namespace has one of its own, which is down.
				if it.Flags&net.FlagLoopback == 0 && it.Flags&net.FlagUp != 0 {
					return open("%s", it.Name)
				}
			}
			return blocked("a loopback interface only")
		}},
		{"packets", "read the packets of the machine's interfaces", func() result {
			fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0x0300) // ETH_P_ALL
			if err != nil {
				return judge(err)
			}
			defer unix.Close(fd)
			// Index 1 is everybody's loopback interface; the machine's others follow.
			for index := 2; index < 40; index++ {
				err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: index})
				if list, _ := net.InterfaceByIndex(index); err == nil && (list == nil || list.Flags&net.FlagUp != 0) {
					return open("interface %d", index)
				}
			}
			return blocked("none")
		}},
	}
}

func keys() []attempt {
	return []attempt{
		{"key-add", "add a key to the kernel", asks2(func() (int, error) {
			_, err := unix.AddKey("user", "firmwared-escape", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)
			return -1, err
		})},
		{"key-user", "find the keys of the machine's root", asks2(func() (int, error) {
			_, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_USER_KEYRING, 0, 0, 0)
			return -1, err
		})},
		{"key-session", "find the keys of the session that started the instance", func() result {
			_, err := unix.KeyctlInt(unix.KEYCTL_GET_KEYRING_ID, unix.KEY_SPEC_SESSION_KEYRING, 0, 0, 0)
			if errors.Is(err, unix.ENOKEY) {
				return absent("%v", err)
			}
			return judge(err)
		}},
		{"key-list", "list the machine's keys in /proc/keys", func() result {
			data, err := os.ReadFile("/proc/keys")
			if err != nil {
				return judge(err)
			}
			for line := range strings.Lines(string(data)) {
				// Its own session's is all that a user namespace of its own shows.
				if fields := strings.Fields(line); len(fields) < 9 || fields[8] != "_ses:" {
					return open("%s", strings.TrimSpace(line))
				}
			}
			return blocked("its own only")
		}},
	}
}
