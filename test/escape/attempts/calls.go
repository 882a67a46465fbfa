// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"os"
	"strings"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// errno turns 0 into nil.
func errno(e unix.Errno) error {
	if e == 0 {
		return nil
	}
	return e
}

// nosuch is a C string that names nothing. A variable of the package stays where it is.
var nosuch = []byte("firmwared_nosuch\x00")

func calls() []attempt {
	raw := func(number uintptr, a, b, c, d uintptr) func() error {
		return func() error {
			_, _, e := unix.Syscall6(number, a, b, c, d, 0, 0)
			return errno(e)
		}
	}
	asks := func(call func() error) func() result { return func() result { return reached(call()) } }
	name := uintptr(unsafe.Pointer(&nosuch[0]))
	return []attempt{
		{"module-load", "load a kernel module from memory", asks(raw(unix.SYS_INIT_MODULE, name, 4, name, 0))},
		{"module-load-file", "load a kernel module from a file", func() result {
			file, err := os.Open("/proc/self/exe")
			if err != nil {
				return broken("%v", err)
			}
			defer file.Close()
			return reached(raw(unix.SYS_FINIT_MODULE, file.Fd(), name, 0, 0)())
		}},
		{"module-unload", "remove a kernel module", asks(raw(unix.SYS_DELETE_MODULE, name, unix.O_NONBLOCK, 0, 0))},
		// 17 segments are one more than there may be.
		{"kexec", "load another kernel", asks(raw(unix.SYS_KEXEC_LOAD, 0, 17, 0, 0))},
		{"kexec-file", "load another kernel from a file", asks(raw(unix.SYS_KEXEC_FILE_LOAD, ^uintptr(0), ^uintptr(0), 0, 0))},
		{"reboot", "set what Ctrl-Alt-Del does, by reboot(2)", rebootKey},
		{"swap-on", "add swap space", asks(raw(unix.SYS_SWAPON, name, 0, 0, 0))},
		{"swap-off", "remove swap space", asks(raw(unix.SYS_SWAPOFF, name, 0, 0, 0))},
		{"accounting", "have the kernel write into a file at each process's end", asks(func() error { return unix.Acct("/firmwared_nosuch") })},
		{"quota", "ask for a disk's quota", asks(raw(unix.SYS_QUOTACTL, 0x800007<<8, name, 0, 0))},
		{"file-handle", "open a file by its number instead of its name", fileHandle},
		{"namespace-handle", "open a namespace of the machine by its number", namespaceHandle},
		{"bpf-load", "give the kernel something of BPF", func() result { return bpf(0, []uint32{2, 4, 4, 1}) }}, // an array of one
		{"bpf-list", "list the machine's BPF programs", func() result {
			r := bpf(11, make([]uint32, 4)) // BPF_PROG_GET_NEXT_ID
			if r.verdict == "n/a" {
				return open("there are none")
			}
			return r
		}},
		{"perf", "watch all of a CPU by perf_event_open", func() result {
			attr := &unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})),
				Config: unix.PERF_COUNT_SW_CONTEXT_SWITCHES, Bits: unix.PerfBitDisabled}
			fd, err := unix.PerfEventOpen(attr, -1, 0, -1, unix.PERF_FLAG_FD_CLOEXEC)
			if err == nil {
				unix.Close(fd)
			}
			return judge(err)
		}},
		{"userfaultfd", "hold the kernel up by userfaultfd", asks2(func() (int, error) {
			fd, _, e := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
			return int(fd), errno(e)
		})},
		{"io-uring", "make calls past the filter by io_uring", asks2(func() (int, error) {
			var params [120]byte // struct io_uring_params
			fd, _, e := unix.Syscall(unix.SYS_IO_URING_SETUP, 1, uintptr(unsafe.Pointer(&params)), 0)
			return int(fd), errno(e)
		})},
		{"fanotify", "be told of every file that the machine opens", asks2(func() (int, error) {
			return unix.FanotifyInit(unix.FAN_CLASS_CONTENT|unix.FAN_CLOEXEC, unix.O_RDONLY)
		})},
		{"audit", "change the machine's audit by netlink", audit},
	}
}

// asks2 is judge for calls that give a descriptor.
func asks2(call func() (int, error)) func() result {
	return func() result {
		fd, err := call()
		if err == nil {
			unix.Close(fd)
		}
		return judge(err)
	}
}

// rebootKey sets what is set. In a pid namespace the kernel takes only the calls
// that end the namespace.
func rebootKey() result {
	now, err := os.ReadFile("/proc/sys/kernel/ctrl-alt-del")
	if err != nil {
		return judge(err)
	}
	command := unix.LINUX_REBOOT_CMD_CAD_OFF
	if strings.TrimSpace(string(now)) == "1" {
		command = unix.LINUX_REBOOT_CMD_CAD_ON
	}
	if err = unix.Reboot(command); err == unix.EINVAL {
		return blocked("%v, by the pid namespace", err)
	}
	return judge(err)
}

func fileHandle() result {
	return mounted("tmpfs", "", func(dir string) result {
		if err := os.WriteFile(dir+"/file", nil, 0o600); err != nil {
			return broken("%v", err)
		}
		handle, _, err := unix.NameToHandleAt(unix.AT_FDCWD, dir+"/file", 0)
		if err != nil {
			return judge(err)
		}
		at, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return broken("%v", err)
		}
		defer unix.Close(at)
		fd, err := unix.OpenByHandleAt(at, handle, unix.O_PATH|unix.O_CLOEXEC)
		if err == nil {
			unix.Close(fd)
		}
		return judge(err)
	})
}

// namespaceHandle: struct nsfs_file_handle (linux/nsfs.h, Linux 6.18), whose first
// ids are those of the namespaces that the machine was born with.
func namespaceHandle() result {
	const nsfsRoot, nsfsType, firstInode = -10003, 0xf1, 0xeffffff8
	kinds := []uint32{unix.CLONE_NEWIPC, unix.CLONE_NEWUTS, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWCGROUP,
		unix.CLONE_NEWTIME, unix.CLONE_NEWNET, unix.CLONE_NEWNS}
	var last error
	for id := uint64(1); id <= uint64(len(kinds)); id++ {
		for i, kind := range kinds {
			data := binary.NativeEndian.AppendUint64(nil, id)
			data = binary.NativeEndian.AppendUint32(data, kind)
			data = binary.NativeEndian.AppendUint32(data, uint32(firstInode+len(kinds)-1-i))
			fd, err := unix.OpenByHandleAt(nsfsRoot, unix.NewFileHandle(nsfsType, data), unix.O_RDONLY|unix.O_CLOEXEC)
			if err == nil {
				unix.Close(fd)
				return open("namespace %d of kind %#x", id, kind)
			}
			last = err
		}
	}
	if last == unix.ESTALE || last == unix.EBADF {
		return absent("%v", last) // not found, or a kernel without these handles
	}
	return judge(last)
}

func bpf(command uintptr, attr []uint32) result {
	attr = append(attr, make([]uint32, 32-len(attr))...)
	fd, _, e := unix.Syscall(unix.SYS_BPF, command, uintptr(unsafe.Pointer(&attr[0])), uintptr(4*len(attr)))
	if e == 0 && command == 0 {
		unix.Close(int(fd))
	}
	return judge(errno(e))
}

// audit asks for the state, which needs the right to change it.
func audit() result {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_AUDIT)
	if err != nil {
		if err == unix.EPROTONOSUPPORT {
			return absent("%v", err)
		}
		return judge(err)
	}
	defer unix.Close(fd)
	timeout := unix.NsecToTimeval(int64(2 * time.Second))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout); err != nil {
		return broken("%v", err)
	}
	var request bytes.Buffer
	_ = binary.Write(&request, binary.NativeEndian, unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: unix.AUDIT_GET, Flags: unix.NLM_F_REQUEST | unix.NLM_F_ACK})
	if err := unix.Sendto(fd, request.Bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return judge(err)
	}
	answer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(fd, answer, 0)
	if err != nil || n < unix.SizeofNlMsghdr+4 {
		return broken("answer of %d bytes: %v", n, err)
	}
	if kind := binary.NativeEndian.Uint16(answer[4:]); kind == unix.NLMSG_ERROR {
		code := int32(binary.NativeEndian.Uint32(answer[unix.SizeofNlMsghdr:]))
		if err := unix.Errno(-code); err == unix.ECONNREFUSED {
			return blocked("%v, by the user namespace", err)
		} else if err != 0 {
			return judge(err)
		}
	}
	return open("it answers")
}

func clocks() []attempt {
	return []attempt{
		{"clock", "set the machine's clock", func() result {
			var now unix.Timespec
			if err := unix.ClockGettime(unix.CLOCK_REALTIME, &now); err != nil {
				return broken("%v", err)
			}
			return judge(unix.ClockSettime(unix.CLOCK_REALTIME, &now))
		}},
		{"clock-old", "the same by settimeofday", func() result {
			var now unix.Timeval
			if err := unix.Gettimeofday(&now); err != nil {
				return broken("%v", err)
			}
			return judge(unix.Settimeofday(&now))
		}},
		{"clock-rate", "change how fast the machine's clock runs", func() result {
			var now unix.Timex
			if _, err := unix.Adjtimex(&now); err != nil {
				return broken("cannot read: %v", err)
			}
			now.Modes = unix.ADJ_FREQUENCY // as it is
			_, err := unix.Adjtimex(&now)
			return judge(err)
		}},
		{"clock-adjust", "the same by clock_adjtime", func() result {
			var now unix.Timex
			if _, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &now); err != nil {
				return broken("cannot read: %v", err)
			}
			now.Modes = unix.ADJ_FREQUENCY
			_, err := unix.ClockAdjtime(unix.CLOCK_REALTIME, &now)
			return judge(err)
		}},
	}
}
