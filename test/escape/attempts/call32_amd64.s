// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// func call32(number, first uint32) int32
TEXT ·call32(SB), NOSPLIT, $0-12
	MOVL number+0(FP), AX
	MOVL first+4(FP), BX
	XORL CX, CX
	XORL DX, DX
	INT  $0x80
	MOVL AX, ret+8(FP)
	RET
