// SPDX-License-Identifier: Apache-2.0

// Package seccompgen assembles the seccomp filters of package sandbox from names
// of system calls. It is for the test that writes and checks sandbox's tables:
// the library's tables of names would cost every process of the program 165 KB
// and 0.2 ms (measured), and the filters never change.
package seccompgen

import (
	"fmt"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
)

// archesOf are the calling conventions of a machine, by GOARCH: its own and the
// 32-bit one, through which each call could be made just as well.
var archesOf = map[string][]*arch.Info{
	"amd64": {arch.X86_64, arch.I386},
	"arm64": {arch.AARCH64, arch.ARM},
}

// Offsets in struct seccomp_data (linux/seccomp.h).
const (
	offsetNumber = 0
	offsetArch   = 4
)

// enosys is the same number on each of these machines.
const enosys = 38

// newer are calls that the library does not know yet; they have one number everywhere.
var newer = map[string]int{"file_setattr": 469}

// Assemble returns a filter that answers the named calls with errno and lets all
// others pass. A name that a convention does not have is left out there; one that
// none has is an error. The x32 convention, and any other that is not known, gets
// ENOSYS for everything. Where there are values of an argument, an int, the first
// being 0, only calls with one of them are answered so.
func Assemble(goarch string, names []string, errno uint16, arg uint32, values ...uint32) ([]bpf.RawInstruction, error) {
	var program []bpf.Instruction
	known := map[string]bool{}
	for _, convention := range archesOf[goarch] {
		block, err := assembleBlock(convention, names, errno, arg, values, known)
		if err != nil {
			return nil, err
		}
		program = append(program,
			bpf.LoadAbsolute{Off: offsetArch, Size: 4},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(convention.ID), SkipTrue: 1},
			bpf.Jump{Skip: uint32(len(block))})
		program = append(program, block...)
	}
	if program == nil {
		return nil, fmt.Errorf("no conventions known for %s", goarch)
	}
	program = append(program, bpf.RetConstant{Val: uint32(seccomp.ActionErrno) | enosys})
	for _, name := range names {
		if !known[name] {
			return nil, fmt.Errorf("no system call %q on %s", name, goarch)
		}
	}
	return bpf.Assemble(program)
}

// assembleBlock decides on the calls of one convention; every way through it ends
// in a return.
func assembleBlock(convention *arch.Info, names []string, errno uint16, arg uint32, values []uint32, known map[string]bool) ([]bpf.Instruction, error) {
	block := []bpf.Instruction{bpf.LoadAbsolute{Off: offsetNumber, Size: 4}}
	if convention.ID == arch.X32.ID {
		// Same id as the machine's own, told by a bit of the number.
		block = append(block,
			bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: uint32(arch.X32.SeccompMask), SkipFalse: 1},
			bpf.RetConstant{Val: uint32(seccomp.ActionErrno) | enosys})
	}
	p := seccomp.NewProgram()
	deny, look := p.NewLabel(), p.NewLabel()
	found := deny
	if len(values) > 0 {
		found = look
	}
	for _, name := range names {
		number, has := convention.SyscallNames[name]
		if !has {
			number, has = newer[name]
		}
		if !has {
			continue
		}
		known[name] = true
		p.JmpIfTrue(bpf.JumpEqual, uint32(number), found)
	}
	p.Ret(seccomp.ActionAllow)
	if len(values) > 0 {
		p.SetLabel(look)
		p.LdLo(arg)
		for _, value := range values {
			p.JmpIfTrue(bpf.JumpEqual, value, deny)
		}
		p.Ret(seccomp.ActionAllow)
	}
	p.SetLabel(deny)
	p.Ret(seccomp.ActionErrno | seccomp.Action(errno))
	rest, err := p.Assemble()
	return append(block, rest...), err
}
