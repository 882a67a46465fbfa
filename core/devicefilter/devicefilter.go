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

// deviceProgram returns 1 for an access that a rule allows, else 0. Its argument
// is struct bpf_cgroup_dev_ctx (linux/bpf.h): access << 16 | type, major, minor.
func deviceProgram(list []cgroup.Device) asm.Instructions {
	const (
		kind, access, major, minor = asm.R2, asm.R3, asm.R4, asm.R5
	)
	program := asm.Instructions{
		asm.LoadMem(kind, asm.R1, 0, asm.Word),
		asm.Mov.Reg32(access, kind),
		asm.And.Imm32(kind, 0xffff),
		asm.RSh.Imm32(access, 16),
		asm.LoadMem(major, asm.R1, 4, asm.Word),
		asm.LoadMem(minor, asm.R1, 8, asm.Word),
	}
	for i, d := range list {
		rule, next := fmt.Sprintf("rule%d", i), fmt.Sprintf("rule%d", i+1)
		want := int32(unix.BPF_DEVCG_DEV_CHAR)
		if d.Block {
			want = unix.BPF_DEVCG_DEV_BLOCK
		}
		// No access bit but those allowed.
		block := asm.Instructions{
			asm.JNE.Imm(kind, want, next),
			asm.Mov.Reg32(asm.R1, access),
			asm.And.Imm32(asm.R1, ^accessBits(d.Access)),
			asm.JNE.Imm(asm.R1, 0, next),
		}
		if d.Major != cgroup.AnyNumber {
			block = append(block, asm.JNE.Imm(major, int32(d.Major), next))
		}
		if d.Minor != cgroup.AnyNumber {
			block = append(block, asm.JNE.Imm(minor, int32(d.Minor), next))
		}
		block = append(block, asm.Mov.Imm32(asm.R0, 1), asm.Return())
		block[0] = block[0].WithSymbol(rule)
		program = append(program, block...)
	}
	return append(program, asm.Mov.Imm32(asm.R0, 0).WithSymbol(fmt.Sprintf("rule%d", len(list))), asm.Return())
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
