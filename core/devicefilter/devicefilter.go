// SPDX-License-Identifier: Apache-2.0

// Package devicefilter makes the eBPF program that keeps a cgroup2 group to some
// devices, and puts it there. It is apart from core/cgroup for what it links: the
// library takes 1.4 MB of a program, and memory of each process.
package devicefilter

import (
	"fmt"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
)

// Attach is a cgroup.AttachDevices. It needs CAP_BPF or CAP_SYS_ADMIN on the
// machine. The program stays as long as the group.
func Attach(list []cgroup.Device, group *cgroup.Group) error {
	dir, err := group.Dir()
	if err != nil {
		return err
	}
	defer dir.Close()
	program, err := ebpf.NewProgram(&ebpf.ProgramSpec{
		Type: ebpf.CGroupDevice, Instructions: deviceProgram(list), License: "Apache-2.0",
	})
	if err != nil {
		return err
	}
	defer program.Close() // the group keeps it
	// The kernel asks every program from here to the root, and each can only say no.
	return link.RawAttachProgram(link.RawAttachProgramOptions{
		Target: int(dir.Fd()), Program: program, Attach: ebpf.AttachCGroupDevice, Flags: unix.BPF_F_ALLOW_MULTI,
	})
}

// The program's registers.
const (
	kind, access, major, minor = asm.R2, asm.R3, asm.R4, asm.R5
	number                     = asm.R6 // major << 32 | minor
)

// deviceProgram returns 1 for an access that a rule allows, else 0. Its argument
// is struct bpf_cgroup_dev_ctx (linux/bpf.h): access << 16 | type, major, minor.
// Rules for the same kind and access stand together, so that each is one
// comparison: the kernel's verifier follows every branch of the program at each
// load of it, that is at each start.
func deviceProgram(list []cgroup.Device) asm.Instructions {
	program := asm.Instructions{
		asm.LoadMem(kind, asm.R1, 0, asm.Word),
		asm.Mov.Reg32(access, kind),
		asm.And.Imm32(kind, 0xffff),
		asm.RSh.Imm32(access, 16),
		asm.LoadMem(major, asm.R1, 4, asm.Word),
		asm.LoadMem(minor, asm.R1, 8, asm.Word),
		asm.Mov.Reg(number, major),
		asm.LSh.Imm(number, 32),
		asm.Or.Reg(number, minor),
		asm.Mov.Imm32(asm.R0, 1),
	}
	groups := groupsOf(list)
	for i, group := range groups {
		here, next := fmt.Sprintf("group%d", i), fmt.Sprintf("group%d", i+1)
		want := int32(unix.BPF_DEVCG_DEV_CHAR)
		if group[0].Block {
			want = unix.BPF_DEVCG_DEV_BLOCK
		}
		program = append(program,
			asm.JNE.Imm(kind, want, next).WithSymbol(here),
			// No access bit but those allowed.
			asm.Mov.Reg32(asm.R1, access),
			asm.And.Imm32(asm.R1, ^accessBits(group[0].Access)),
			asm.JNE.Imm(asm.R1, 0, next))
		for _, d := range group {
			program = append(program, allow(d)...)
		}
	}
	return append(program,
		asm.Mov.Imm32(asm.R0, 0).WithSymbol(fmt.Sprintf("group%d", len(groups))),
		asm.Return().WithSymbol("allowed"))
}

// groupsOf puts the rules of one kind and access together.
func groupsOf(list []cgroup.Device) (groups [][]cgroup.Device) {
next:
	for _, d := range list {
		for i, group := range groups {
			if group[0].Block == d.Block && accessBits(group[0].Access) == accessBits(d.Access) {
				groups[i] = append(group, d)
				continue next
			}
		}
		groups = append(groups, []cgroup.Device{d})
	}
	return groups
}

// allow goes to the end if the device is the rule's.
func allow(d cgroup.Device) asm.Instructions {
	const end = "allowed"
	switch {
	case d.Major == cgroup.AnyNumber && d.Minor == cgroup.AnyNumber:
		// Always, but not for the verifier's first look, which refuses code that nothing leads to.
		return asm.Instructions{asm.JGE.Imm(number, 0, end)}
	case d.Major == cgroup.AnyNumber:
		return asm.Instructions{asm.JEq.Imm(minor, int32(d.Minor), end)}
	case d.Minor == cgroup.AnyNumber:
		return asm.Instructions{asm.JEq.Imm(major, int32(d.Major), end)}
	}
	return asm.Instructions{
		asm.LoadImm(asm.R1, d.Major<<32|d.Minor, asm.DWord),
		asm.JEq.Reg(number, asm.R1, end),
	}
}

func accessBits(access string) (bits int32) {
	for _, a := range access {
		switch a {
		case 'r':
			bits |= unix.BPF_DEVCG_ACC_READ
		case 'w':
			bits |= unix.BPF_DEVCG_ACC_WRITE
		case 'm':
			bits |= unix.BPF_DEVCG_ACC_MKNOD
		}
	}
	return bits
}
