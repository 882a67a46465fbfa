// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// func cloneKeeper(flags uintptr) (pid int)
//
// The child shares the memory of a Go program, and the stack of the thread that
// made it, which runs on. So it touches none: all that it does is system calls
// whose arguments are numbers.
TEXT ·cloneKeeper(SB), NOSPLIT, $0-16
	MOVQ flags+0(FP), DI
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $56, AX // clone
	SYSCALL
	TESTQ AX, AX
	JZ   child
	MOVQ AX, pid+8(FP)
	RET

child:
	MOVL $1, DI // PR_SET_PDEATHSIG
	MOVL $9, SI // SIGKILL
	MOVL $157, AX // prctl
	SYSCALL
	// Locks are held by descriptors, and nobody's for longer than their owner lives.
	XORL DI, DI
	MOVL $0xffffffff, SI
	MOVL $2, DX // CLOSE_RANGE_UNSHARE
	MOVL $436, AX // close_range
	SYSCALL
	// Should the parent have died before the first call, this is what ends it.
	XORL DI, DI
	XORL SI, SI
	MOVL $10000, DX
	MOVL $7, AX // poll of nothing, with a limit
	SYSCALL
	XORL DI, DI
	MOVL $231, AX // exit_group
	SYSCALL
	INT  $3
