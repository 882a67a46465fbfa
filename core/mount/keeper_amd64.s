// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// func cloneKeeper(flags uintptr, parent int) (pid int)
//
// The child shares the memory of a Go program, and the stack of the thread that
// made it, which runs on. So it touches none: all that it does is system calls
// whose arguments are numbers.
TEXT ·cloneKeeper(SB), NOSPLIT, $0-24
	MOVQ flags+0(FP), DI
	MOVQ parent+8(FP), R12
	XORL SI, SI
	XORL DX, DX
	XORL R10, R10
	XORL R8, R8
	MOVL $56, AX // clone
	SYSCALL
	TESTQ AX, AX
	JZ   child
	MOVQ AX, pid+16(FP)
	RET

child:
	MOVL $1, DI // PR_SET_PDEATHSIG
	MOVL $9, SI // SIGKILL
	MOVL $157, AX // prctl
	SYSCALL
	// Has the parent died before that?
	MOVL $110, AX // getppid
	SYSCALL
	CMPQ AX, R12
	JNE  exit

idle:
	MOVL $34, AX // pause
	SYSCALL
	JMP  idle

exit:
	XORL DI, DI
	MOVL $231, AX // exit_group
	SYSCALL
	INT  $3
