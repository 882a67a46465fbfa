// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/asm"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"
)

// ErrNoDeviceFilter says that neither cgroup2 with eBPF nor the cgroup1
// controller is there.
var ErrNoDeviceFilter = errors.New("this machine has no device filter: neither eBPF for cgroup2 (CONFIG_CGROUP_BPF) nor the cgroup1 controller \"devices\"")

// AllowDevices bounds the existing cgroup2 group elem, and what is below it, to
// the nodes of list; nobody in it can lift that. It needs no controller, so it
// also works where cgroup2 is mounted beside cgroup1. Without eBPF it makes the
// group elem in the cgroup1 hierarchy "devices", which every process must enter
// (EnterDevices) and which RemoveDevices ends: legacy is true then.
func AllowDevices(list []Device, elem ...string) (legacy bool, err error) {
	failed := attachFilter(list, elem)
	if failed == nil {
		return false, nil
	}
	if err := limitLegacyDevices(list, elem); err != nil {
		if errors.Is(err, ErrNoDeviceFilter) {
			return false, fmt.Errorf("%w (%v)", err, failed)
		}
		return false, fmt.Errorf("cannot filter devices: %w", err)
	}
	return true, nil
}

// testOnlyLegacyDevices takes the way of a machine without eBPF.
var testOnlyLegacyDevices bool

func attachFilter(list []Device, elem []string) error {
	if testOnlyLegacyDevices {
		return errors.New("switched off")
	}
	dir, err := Open(elem...).Dir()
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
func deviceProgram(list []Device) asm.Instructions {
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
		if d.Major != AnyNumber {
			block = append(block, asm.JNE.Imm(major, int32(d.Major), next))
		}
		if d.Minor != AnyNumber {
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

// legacyDevices is where init systems mount the cgroup1 controller.
const legacyDevices = "/sys/fs/cgroup/devices"

// legacyDeviceDir fails with ErrNoDeviceFilter without the controller.
func legacyDeviceDir(elem []string) (string, error) {
	var st unix.Statfs_t
	if unix.Statfs(legacyDevices, &st) != nil || st.Type != unix.CGROUP_SUPER_MAGIC {
		return "", ErrNoDeviceFilter
	}
	if len(elem) == 0 || slices.ContainsFunc(elem, func(e string) bool { return !ValidName(e) }) {
		return "", fmt.Errorf("bad cgroup name %q", strings.Join(elem, "/"))
	}
	return filepath.Join(append([]string{legacyDevices}, elem...)...), nil
}

func limitLegacyDevices(list []Device, elem []string) error {
	dir, err := legacyDeviceDir(elem)
	if err != nil {
		return err
	}
	// A clean-up elsewhere may remove an empty parent between two steps.
	for range 10 {
		if err = os.MkdirAll(dir, 0o755); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	if err == nil {
		err = os.WriteFile(dir+"/devices.deny", []byte("a"), 0)
	}
	for _, d := range list {
		if err == nil {
			err = os.WriteFile(dir+"/devices.allow", []byte(d.String()), 0)
		}
	}
	if err != nil { // a user namespace's root may make groups, and not set them
		err = errors.Join(err, RemoveDevices(elem...))
	}
	return err
}

// EnterDevices puts a process under the filter that AllowDevices made, if that is
// a cgroup1 group.
func EnterDevices(pid int, elem ...string) error {
	dir, err := legacyDeviceDir(elem)
	if err != nil {
		return nil
	}
	err = os.WriteFile(dir+"/cgroup.procs", fmt.Append(nil, pid), 0)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot put process %d under the device filter: %w", pid, err)
	}
	return nil
}

// RemoveDevices removes the cgroup1 group of elem, whose processes are dead, and
// those above it that are empty now.
func RemoveDevices(elem ...string) error {
	dir, err := legacyDeviceDir(elem)
	if err != nil {
		return nil
	}
	// The dead leave a group a moment after they can be waited for.
	for end := time.Now().Add(killLimit); ; time.Sleep(time.Millisecond) {
		if err = unix.Rmdir(dir); err == nil || gone(err) || time.Now().After(end) {
			break
		}
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("cannot remove cgroup %q: %w", dir, err)
	}
	for range elem[1:] {
		if dir = filepath.Dir(dir); unix.Rmdir(dir) != nil {
			break // somebody else's is in it
		}
	}
	return nil
}
