// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"os"
	"os/exec"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The limits that the machine's side sets in all modes but unconfined are well below these.
const (
	tooManyProcesses = 150
	tooMuchMemory    = 192 << 20
	tooManyFiles     = 6000
	tooMuchDisk      = 64 // MiB
	tooManyRwFiles   = 1500
)

func exhaustion() []attempt {
	return []attempt{
		{"processes", "make more processes than pids_max", manyProcesses},
		{"memory", "use more memory than memory_max", func() result {
			err := exec.Command(os.Args[0], "eat").Run()
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return blocked("%v", err)
			}
			return judge(err)
		}},
		{"space", "write more than rw_max", bounded(func(dir string) result {
			file, err := os.Create(dir + "/big")
			if err != nil {
				return judge(err)
			}
			defer file.Close()
			data := make([]byte, 1<<20)
			for i := range tooMuchDisk {
				if _, err := file.Write(data); errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.ENOSPC) {
					return blocked("%v after %d MiB", err, i)
				} else if err != nil {
					return broken("%v", err)
				}
			}
			return open("%d MiB", tooMuchDisk)
		})},
		{"space-map", "the same through a mapped file with holes", bounded(func(dir string) result {
			file, err := os.Create(dir + "/holes")
			if err != nil {
				return judge(err)
			}
			defer file.Close()
			if err := file.Truncate(tooMuchDisk << 20); err != nil {
				return broken("%v", err)
			}
			switch err := exec.Command(os.Args[0], "fill", file.Name()).Run().(type) {
			case nil:
				return open("%d MiB", tooMuchDisk)
			case *exec.ExitError:
				return blocked("%v", err) // SIGBUS
			default:
				return broken("%v", err)
			}
		})},
		{"space-project", "give a file to another project, whose disk space is not limited", bounded(func(dir string) result {
			file, err := os.Create(dir + "/mine")
			if err != nil {
				return judge(err)
			}
			defer file.Close()
			const get, set = 0x801c581f, 0x401c5820 // FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR
			var attr [7]uint32                      // struct fsxattr
			if _, _, e := unix.Syscall(unix.SYS_IOCTL, file.Fd(), get, uintptr(unsafe.Pointer(&attr))); e != 0 {
				return judge(e)
			}
			attr[3]++
			_, _, e := unix.Syscall(unix.SYS_IOCTL, file.Fd(), set, uintptr(unsafe.Pointer(&attr)))
			if e == unix.EINVAL && inUserNamespace() { // fileattr_set_prepare
				return blocked("%v", e)
			}
			return judge(errno(e))
		})},
		{"files", "make more files than rw_files_max, which uses up the state directory's inodes", bounded(func(dir string) result {
			for i := range tooManyRwFiles {
				if err := os.WriteFile(dir+"/"+itoa(i), nil, 0o600); errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.ENOSPC) {
					return blocked("%v after %d", err, i)
				} else if err != nil {
					return broken("%v", err)
				}
			}
			return open("%d files", tooManyRwFiles)
		})},
		{"dev-files", "use up the machine's memory by files in /dev", func() result {
			dir, err := os.MkdirTemp("/dev", "escape")
			if err != nil {
				return judge(err)
			}
			defer os.RemoveAll(dir)
			for i := range tooManyFiles {
				if err := os.WriteFile(dir+"/"+itoa(i), nil, 0o600); err != nil {
					if errors.Is(err, unix.ENOSPC) {
						return blocked("%v after %d", unix.ENOSPC, i)
					}
					return judge(err)
				}
			}
			return open("%d files", tooManyFiles)
		}},
	}
}

// bounded gives an attempt a directory in the rw layer. Where the state directory's file
// system keeps no quotas, no limit can be set, and README says so.
func bounded(try func(dir string) result) func() result {
	return func() result {
		if os.Getenv("ESCAPE_QUOTA") == "" && filtered() {
			return absent("the state directory's file system keeps no project quotas")
		}
		dir, err := os.MkdirTemp("/tmp", "escape")
		if err != nil {
			return judge(err)
		}
		defer os.RemoveAll(dir)
		return try(dir)
	}
}

// fill writes into each page of a mapped file; like eat it may be ended by that.
func fill(path string) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		os.Exit(2)
	}
	data, err := unix.Mmap(int(file.Fd()), 0, tooMuchDisk<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		os.Exit(2)
	}
	for i := 0; i < len(data); i += os.Getpagesize() {
		data[i] = 1
	}
}

func manyProcesses() result {
	var started []*exec.Cmd
	defer func() {
		for _, cmd := range started {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	for range tooManyProcesses {
		cmd := exec.Command("/bin/busybox", "sleep", "1000")
		if err := cmd.Start(); errors.Is(err, unix.EAGAIN) {
			return blocked("%v after %d", unix.EAGAIN, len(started))
		} else if err != nil {
			return broken("%v", err)
		}
		started = append(started, cmd)
	}
	return open("%d at once", tooManyProcesses)
}

// eat is its own process, because what stops it is its end.
func eat() {
	data, err := unix.Mmap(-1, 0, tooMuchMemory, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		os.Exit(1)
	}
	for i := 0; i < len(data); i += os.Getpagesize() {
		data[i] = 1
	}
}
