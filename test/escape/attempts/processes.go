// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// nested runs another attempt as root of a new user namespace, which has every
// capability there.
func nested() result {
	ctx, cancel := context.WithTimeout(context.Background(), limit/2)
	defer cancel()
	var out bytes.Buffer
	ids := []syscall.SysProcIDMap{{ContainerID: 0, HostID: 0, Size: 1}}
	cmd := exec.CommandContext(ctx, os.Args[0], "core-pattern-elsewhere")
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWUSER | unix.CLONE_NEWNS | unix.CLONE_NEWPID, UidMappings: ids, GidMappings: ids}
	if err := cmd.Run(); err != nil {
		return judge(errors.Unwrap(err))
	}
	verdict, detail, _ := strings.Cut(strings.TrimSpace(out.String()), " ")
	return result{verdict, detail}
}

// hostPID is a process of the machine's side, which knows it by that number.
func hostPID(use func(pid int) result) func() result {
	return func() result {
		pid, err := strconv.Atoi(os.Getenv("ESCAPE_PID"))
		if err != nil {
			return broken("ESCAPE_PID is not set")
		}
		// A process of one's own may have the number by chance.
		command, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if len(command) > 0 && !bytes.Contains(command, []byte("\x00host")) {
			return blocked("%d is a process of its own", pid)
		}
		return use(pid)
	}
}

// hidden: no such process is how a pid namespace refuses.
func hidden(err error) result {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) {
		return blocked("%v", err)
	}
	return judge(err)
}

func processes() []attempt {
	return []attempt{
		{"signal", "signal a process of the machine", hostPID(func(pid int) result { return hidden(unix.Kill(pid, 0)) })},
		{"trace", "trace a process of the machine", hostPID(func(pid int) result {
			err := unix.PtraceSeize(pid)
			if err == nil {
				_ = unix.PtraceDetach(pid)
			}
			return hidden(err)
		})},
		{"read-memory", "read a process's memory", hostPID(func(pid int) result { return hidden(openFor(fmt.Sprintf("/proc/%d/mem", pid), unix.O_RDONLY)) })},
		{"pid-root", "reach the machine's files by /proc/PID/root", hostPID(func(pid int) result {
			return hidden(openFor(fmt.Sprintf("/proc/%d/root", pid), unix.O_PATH))
		})},
		{"pidfd", "get hold of a process of the machine", hostPID(func(pid int) result {
			fd, err := unix.PidfdOpen(pid, 0)
			if err == nil {
				unix.Close(fd)
			}
			return hidden(err)
		})},
		{"parent-namespace", "open the pid namespace that this one is in", func() result { return relative(unix.NS_GET_PARENT, "pid") }},
		{"setns", "enter a namespace of the machine by /proc/PID/ns", hostPID(func(pid int) result {
			fd, err := unix.Open(fmt.Sprintf("/proc/%d/ns/mnt", pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return hidden(err)
			}
			defer unix.Close(fd)
			return judge(unix.Setns(fd, 0))
		})},
		{"init-root", "find the machine's files by /proc/1/root, cwd and the descriptors of pid 1", initRoot},
		{"all-links", "the same by those of every process that can be seen", allLinks},
		{"chroot", "leave by the chroot that root can leave a chroot with", chroot},
		{"working-directory", "leave by a working directory from outside", func() result { return secret(".") }},
		{"descriptors", "use a descriptor that was left open", descriptors},
		{"environment", "read the environment of what started pid 1", environment},
	}
}

func relative(request uint, name string) result {
	fd, err := unix.Open("/proc/self/ns/"+name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return broken("%v", err)
	}
	defer unix.Close(fd)
	parent, err := unix.IoctlRetInt(fd, request)
	if err == nil {
		unix.Close(parent)
	}
	return judge(err)
}

func initRoot() result {
	for _, link := range []string{"/proc/1/root", "/proc/1/cwd"} {
		if r := secret(link); r.verdict != "blocked" {
			return r
		}
	}
	return links("/proc/1")
}

func allLinks() result {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		if r := links(dir); r.verdict != "blocked" {
			return r
		}
	}
	return blocked("%d processes", len(dirs))
}

func links(process string) result {
	for _, link := range []string{"/root", "/cwd"} {
		if r := secret(process + link); r.verdict != "blocked" {
			return r
		}
	}
	names, err := filepath.Glob(process + "/fd/*")
	if err != nil {
		return broken("%v", err)
	}
	for _, name := range names {
		// Of files of another file system than one's own /, only a directory leads on.
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			if r := secret(name); r.verdict != "blocked" {
				return r
			}
		}
	}
	return blocked("not found")
}

func chroot() result {
	return within(func(dir string) result {
		if err := unix.Chroot(dir); err != nil {
			return judge(err)
		}
		// The working directory is above the new root now, and nothing stops it.
		if err := unix.Chdir(strings.Repeat("../", 40)); err != nil {
			return broken("%v", err)
		}
		if err := unix.Chroot("."); err != nil {
			return judge(err)
		}
		return secret("/")
	})
}

// descriptors looks at those of pid 1, the program's own parent: standard input, output
// and error, and what Go's run-time system opens.
func descriptors() result {
	entries, err := os.ReadDir("/proc/1/fd")
	if err != nil {
		return judge(err)
	}
	for _, entry := range entries {
		target, err := os.Readlink("/proc/1/fd/" + entry.Name())
		if err != nil {
			continue
		}
		n, _ := strconv.Atoi(entry.Name())
		standard := n <= 2 && (strings.HasPrefix(target, "pipe:") || target == "/dev/null" || strings.HasPrefix(target, "/dev/pts/"))
		own := strings.HasPrefix(target, "anon_inode:[event") || strings.HasPrefix(target, "anon_inode:[pidfd") || strings.HasPrefix(target, "pipe:") && n > 2 ||
			strings.HasPrefix(target, "pidfd:")
		if !standard && !own {
			return open("%d is %s", n, target)
		}
	}
	return blocked("%d descriptors", len(entries))
}

// environment: the machine's side put a word into that of the command.
func environment() result {
	for _, pid := range []string{"1", "self"} {
		data, err := os.ReadFile("/proc/" + pid + "/environ")
		if err != nil {
			return judge(err)
		}
		if bytes.Contains(data, []byte("ESCAPE_WORD=")) {
			return open("of %s", pid)
		}
	}
	return blocked("its own only")
}

// leaks are for the machine's side: an instance of the same kernel must not find
// what other namespaces have.
func leaks() []attempt {
	connect := func(family int, address unix.Sockaddr) result {
		fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return judge(err)
		}
		defer unix.Close(fd)
		timeout := unix.NsecToTimeval(int64(3 * time.Second))
		if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout); err != nil {
			return broken("%v", err)
		}
		if err := unix.Connect(fd, address); err != nil {
			if errors.Is(err, unix.ECONNREFUSED) {
				return blocked("%v", err)
			}
			return judge(err)
		}
		return open("connected")
	}
	return []attempt{
		{"abstract-socket", "connect to an abstract socket of the machine", func() result {
			name := os.Getenv("ESCAPE_ABSTRACT")
			if name == "" {
				return broken("ESCAPE_ABSTRACT is not set")
			}
			return connect(unix.AF_UNIX, &unix.SockaddrUnix{Name: "@" + name})
		}},
		{"local-port", "connect to a port of the machine's loopback interface", func() result {
			port, err := strconv.Atoi(os.Getenv("ESCAPE_PORT"))
			if err != nil {
				return broken("ESCAPE_PORT is not set")
			}
			return connect(unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}})
		}},
		{"hypervisor-socket", "reach the machine or its hypervisor by vsock, which has no namespaces", func() result {
			return madeSocket(unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		}},
		{"shared-memory", "attach shared memory of the machine", func() result {
			key, err := strconv.Atoi(os.Getenv("ESCAPE_SHM"))
			if err != nil {
				return broken("ESCAPE_SHM is not set")
			}
			_, err = unix.SysvShmGet(key, 0, 0)
			return hidden(err)
		}},
		{"host-name", "see or change the machine's name", func() result {
			var name unix.Utsname
			if err := unix.Uname(&name); err != nil {
				return broken("%v", err)
			}
			if unix.ByteSliceToString(name.Nodename[:]) == os.Getenv("ESCAPE_HOST") {
				return open("")
			}
			return blocked("it has one of its own")
		}},
	}
}
