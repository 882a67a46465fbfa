// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

type result struct{ verdict, detail string }

func (r result) String() string { return strings.TrimSpace(r.verdict + " " + r.detail) }

func open(format string, args ...any) result { return result{"open", fmt.Sprintf(format, args...)} }
func blocked(format string, args ...any) result {
	return result{"blocked", fmt.Sprintf(format, args...)}
}
func absent(format string, args ...any) result { return result{"n/a", fmt.Sprintf(format, args...)} }
func broken(format string, args ...any) result { return result{"broken", fmt.Sprintf(format, args...)} }

// refused are what a wall answers.
var refused = []error{unix.EPERM, unix.EACCES, unix.EROFS}

// missing are what a kernel without the thing answers, or a machine without the device.
var missing = []error{unix.ENOENT, unix.ENODEV, unix.ENXIO, unix.EIO, unix.EOPNOTSUPP, unix.EAFNOSUPPORT}

func isOneOf(err error, list []error) bool {
	for _, e := range list {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// judge is for what harms when it succeeds.
func judge(err error) result {
	switch {
	case err == nil:
		return open("")
	case isOneOf(err, refused):
		return blocked("%v", err)
	case isOneOf(err, missing):
		return absent("%v", err)
	case errors.Is(err, unix.ENOSYS):
		return noSuchCall()
	}
	return broken("%v", err)
}

// madeSocket judges on a socket. A filter says of a kind that it denies what a kernel
// says that has none; unconfined the latter is told apart.
func madeSocket(fd int, err error) result {
	if err == nil {
		unix.Close(fd)
	}
	if errors.Is(err, unix.EAFNOSUPPORT) && filtered() {
		return blocked("%v", err)
	}
	return judge(err)
}

// reached is for calls with arguments that cannot work: any answer but a refusal
// says that the same call with others would.
func reached(err error) result {
	switch {
	case isOneOf(err, refused):
		return blocked("%v", err)
	case errors.Is(err, unix.ENOSYS):
		return noSuchCall()
	}
	return open("got as far as: %v", err)
}

// noSuchCall: a filter may say so, or a kernel that has none.
func noSuchCall() result {
	if filtered() {
		return blocked("%v", unix.ENOSYS)
	}
	return absent("this kernel has no such call")
}

func filtered() bool {
	status, _ := os.ReadFile("/proc/self/status")
	return bytes.Contains(status, []byte("Seccomp:\t2"))
}

// inUserNamespace tells from ids whether root here is another one than the machine's.
func inUserNamespace() bool {
	ids, _ := os.ReadFile("/proc/self/uid_map")
	return !bytes.Equal(bytes.Join(bytes.Fields(ids), []byte(" ")), []byte("0 0 4294967295"))
}

// openFor closes again at once.
func openFor(path string, flags int) error {
	fd, err := unix.Open(path, flags|unix.O_NOCTTY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	return unix.Close(fd)
}

// write does not create, as a shell's redirection would.
func write(path string, data []byte) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, data)
	return err
}

// writeBack writes what is there.
func writeBack(path string) result {
	data, err := os.ReadFile(path)
	if err != nil {
		return judge(err)
	}
	return judge(write(path, data))
}

// read wants at least one byte.
func read(path string) result {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return judge(err)
	}
	defer unix.Close(fd)
	n, err := unix.Read(fd, make([]byte, 64))
	if err != nil {
		return judge(err)
	}
	if n <= 0 {
		return absent("empty")
	}
	return open("read %d bytes", n)
}

// within goes on with a directory of one's own.
func within(use func(dir string) result) result {
	dir, err := os.MkdirTemp("/tmp", "escape")
	if err != nil {
		return broken("%v", err)
	}
	defer os.Remove(dir)
	return use(dir)
}

// mounted goes on with a file system of one's own.
func mounted(fstype, options string, use func(dir string) result) result {
	return within(func(dir string) result {
		if err := unix.Mount(fstype, dir, fstype, 0, options); err != nil {
			if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EBUSY) {
				return absent("mounting %s: %v", fstype, err)
			}
			r := judge(err)
			r.detail = "mounting " + fstype + ": " + r.detail
			return r
		}
		defer unix.Unmount(dir, unix.MNT_DETACH)
		return use(dir)
	})
}

// bound goes on with source shown at a place of one's own.
func bound(source, at string, use func(at string) result) result {
	if err := unix.Mount(source, at, "", unix.MS_BIND, ""); err != nil {
		return judge(err)
	}
	defer unix.Unmount(at, unix.MNT_DETACH)
	return use(at)
}

// boundFile shows a file under an innocent name.
func boundFile(source string, use func(at string) result) result {
	return within(func(dir string) result {
		file := dir + "/innocent"
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			return broken("%v", err)
		}
		defer os.Remove(file)
		return bound(source, file, use)
	})
}
