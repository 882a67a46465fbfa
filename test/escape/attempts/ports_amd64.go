// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

// x32Bit marks a system call of the x32 convention (asm/unistd.h).
const x32Bit = 0x40000000

// call32 is in call32_amd64.s: a system call by the 32-bit convention, which
// gives a negative error number.
func call32(number, first uint32) int32

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
			return reached(errno(unix.Errno(-call32(87, 0)))) // a null name: EFAULT
		}},
		{"call-x32", "the same by the x32 convention", func() result {
			_, _, e := unix.Syscall(unix.SYS_SWAPON|x32Bit, 0, 0, 0)
			return reached(errno(e))
		}},
	}
}
