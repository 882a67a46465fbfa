// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A library such as cilium/ebpf costs each process that links it half a MiB.

// instruction is struct bpf_insn (linux/bpf.h).
type instruction struct {
	code uint8
	regs uint8 // destination and source, 4 bits each
	off  int16
	imm  int32
}

// Registers: r0 is what a program returns, r1 its argument.
const (
	r0 = iota
	r1
	kind
	access
	major
	minor
)

func regs(dst, src uint8) uint8 {
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		return src<<4 | dst
	}
	return dst<<4 | src // bit fields are laid out from the other end
}

func load(dst, from uint8, offset int16) instruction {
	return instruction{code: unix.BPF_LDX | unix.BPF_W | unix.BPF_MEM, regs: regs(dst, from), off: offset}
}

func copyOf(dst, src uint8) instruction {
	return instruction{code: unix.BPF_ALU | unix.BPF_MOV | unix.BPF_X, regs: regs(dst, src)}
}

func with(op, dst uint8, imm int32) instruction {
	return instruction{code: unix.BPF_ALU | op | unix.BPF_K, regs: regs(dst, 0), imm: imm}
}

// skipUnless jumps over the rest of a rule; its distance is not known yet.
func skipUnless(reg uint8, imm int32) instruction {
	return instruction{code: unix.BPF_JMP | unix.BPF_JNE | unix.BPF_K, regs: regs(reg, 0), imm: imm}
}

func answer(imm int32) []instruction {
	return []instruction{with(unix.BPF_MOV, r0, imm), {code: unix.BPF_JMP | unix.BPF_EXIT}}
}

// deviceProgram returns 1 for an access that a rule allows, else 0. Its argument
// is struct bpf_cgroup_dev_ctx (linux/bpf.h): access << 16 | type, major, minor.
func deviceProgram(list []Device) []instruction {
	program := []instruction{
		load(kind, r1, 0),
		copyOf(access, kind),
		with(unix.BPF_AND, kind, 0xffff),
		with(unix.BPF_RSH, access, 16),
		load(major, r1, 4),
		load(minor, r1, 8),
	}
	for _, d := range list {
		program = append(program, deviceRule(d)...)
	}
	return append(program, answer(0)...)
}

func deviceRule(d Device) []instruction {
	want := int32(unix.BPF_DEVCG_DEV_CHAR)
	if d.Block {
		want = unix.BPF_DEVCG_DEV_BLOCK
	}
	rule := []instruction{
		skipUnless(kind, want),
		copyOf(r1, access),
		with(unix.BPF_AND, r1, ^accessBits(d.Access)), // no access but what is allowed
		skipUnless(r1, 0),
	}
	if d.Major != AnyNumber {
		rule = append(rule, skipUnless(major, int32(d.Major)))
	}
	if d.Minor != AnyNumber {
		rule = append(rule, skipUnless(minor, int32(d.Minor)))
	}
	rule = append(rule, answer(1)...)
	for i := range rule {
		if rule[i].code == skipUnless(0, 0).code {
			rule[i].off = int16(len(rule) - i - 1)
		}
	}
	return rule
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

// loadProgram returns the descriptor of a program for AttachCgroupDevice.
func loadProgram(program []instruction) (int, error) {
	license, reason := []byte("Apache-2.0\x00"), make([]byte, 4096)
	var keep runtime.Pinner // the kernel gets their addresses as numbers
	defer keep.Unpin()
	keep.Pin(&program[0])
	keep.Pin(&license[0])
	keep.Pin(&reason[0])
	attr := struct { // the first fields of union bpf_attr for BPF_PROG_LOAD; the rest is 0
		kind, count    uint32
		insns, license uint64
		logLevel       uint32
		logSize        uint32
		log            uint64
	}{
		kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(program)),
		insns: pointer(&program[0]), license: pointer(&license[0]),
	}
	fd, errno := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr))
	if errno == nil {
		unix.CloseOnExec(fd)
		return fd, nil
	}
	// Once more, to be told why.
	attr.logLevel, attr.logSize, attr.log = 1, uint32(len(reason)), pointer(&reason[0])
	if fd, err := bpf(unix.BPF_PROG_LOAD, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err == nil {
		unix.CloseOnExec(fd)
		return fd, nil
	}
	reason, _, _ = bytes.Cut(reason, []byte{0})
	return -1, fmt.Errorf("cannot load device filter: %w %s", errno, bytes.TrimSpace(reason))
}

func attachProgram(program, group int) error {
	attr := struct{ target, program, kind, flags uint32 }{
		uint32(group), uint32(program), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI,
	}
	if _, err := bpf(unix.BPF_PROG_ATTACH, unsafe.Pointer(&attr), unsafe.Sizeof(attr)); err != nil {
		return fmt.Errorf("cannot attach device filter: %w", err)
	}
	return nil
}

func pointer[T any](p *T) uint64 { return uint64(uintptr(unsafe.Pointer(p))) }

func bpf(command uintptr, attr unsafe.Pointer, size uintptr) (int, error) {
	for range 10 { // the verifier gives up with EAGAIN when a signal comes
		fd, _, errno := unix.Syscall(unix.SYS_BPF, command, uintptr(attr), size)
		if errno == 0 {
			return int(fd), nil
		}
		if errno != unix.EAGAIN && errno != unix.EINTR {
			return -1, errno
		}
	}
	return -1, unix.EAGAIN
}
