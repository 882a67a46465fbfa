// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

// x32Bit marks a system call of the x32 convention (asm/unistd.h).
const x32Bit = 0x40000000

// call32 is in call32_amd64.s: a system call by the 32-bit convention, which
// gives a negative error number.
func call32(number, first, second uint32) int32

// socketCall is socket(2) by the 32-bit socketcall(2), which takes its arguments
// from memory below 4 GiB.
func socketCall(domain, kind, protocol uint32) (int, error) {
	const number, socket = 102, 1
	low, err := unix.MmapPtr(-1, 0, nil, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_32BIT)
	if err != nil {
		return -1, err
	}
	defer func() { _ = unix.MunmapPtr(low, 4096) }()
	*(*[3]uint32)(low) = [3]uint32{domain, kind, protocol}
	fd := call32(number, socket, uint32(uintptr(low)))
	if fd < 0 {
		return -1, unix.Errno(-fd)
	}
	return int(fd), nil
}

func portCalls() []attempt {
	return []attempt{
		{"port-level", "get all I/O ports by iopl", func() result {
			_, _, e := unix.Syscall(unix.SYS_IOPL, 3, 0, 0)
			return judge(errno(e))
		}},
		{"port-range", "get an I/O port by ioperm", func() result {
			_, _, e := unix.Syscall(unix.SYS_IOPERM, 0x80, 1, 1)
			return judge(errno(e))
		}},
		{"call-32", "make a call (swapon) past the filter by the 32-bit convention", func() result {
			return reached(errno(unix.Errno(-call32(87, 0, 0)))) // a null name: EFAULT
		}},
		{"hypervisor-socket-32", "reach the hypervisor by vsock, by the call of 32-bit programs whose arguments lie in memory", func() result {
			return madeSocket(socketCall(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
		}},
		{"call-x32", "the same by the x32 convention", func() result {
			_, _, e := unix.Syscall(unix.SYS_SWAPON|x32Bit, 0, 0, 0)
			return reached(errno(e))
		}},
	}
}
