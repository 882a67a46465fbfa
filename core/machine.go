// SPDX-License-Identifier: Apache-2.0

package core

import (
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/cyphar/filepath-securejoin/pathrs-lite"

	"firmwared/core/registry"
)

// hostMachine is the ELF machine of this program.
var hostMachine = map[string]elf.Machine{
	"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64, "riscv64": elf.EM_RISCV, "386": elf.EM_386, "arm": elf.EM_ARM,
}

// foreignMachine names the CPU that a program of an instance is for, if it is
// not this machine's. The path is resolved inside the instance's root.
func (m *Manager) foreignMachine(inst *registry.Instance, program string) string {
	handle, err := pathrs.OpenInRoot(m.at.union(inst.ID), program)
	if err != nil {
		return ""
	}
	defer handle.Close()
	if info, err := handle.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	file, err := pathrs.Reopen(handle, os.O_RDONLY)
	if err != nil {
		return ""
	}
	defer file.Close()
	head := make([]byte, 20)
	if _, err := io.ReadFull(file, head); err != nil || string(head[:4]) != elf.ELFMAG {
		return ""
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if elf.Data(head[elf.EI_DATA]) == elf.ELFDATA2MSB {
		order = binary.BigEndian
	}
	machine := elf.Machine(order.Uint16(head[18:]))
	if machine == hostMachine[runtime.GOARCH] {
		return ""
	}
	return strings.TrimPrefix(machine.String(), "EM_")
}
