// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/hook"
)

// confinement looks at what can keep an instance from harming this machine. None
// is a problem by itself: others may stand.
func (d *doctor) confinement(ctx context.Context) {
	d.judge(Warning, "AppArmor", tryAppArmor(), "enabled, and its parser is there", "instances go without profiles")
	d.judge(Warning, "seccomp", trySeccomp(), "filters can return errors", "boot a kernel with CONFIG_SECCOMP_FILTER")
	d.judge(Warning, "user namespace", inNamespace(ctx, unix.CLONE_NEWUSER), "made one",
		"boot a kernel with CONFIG_USER_NS, and see that /proc/sys/user/max_user_namespaces is not 0")
	err := tryDeviceFilter()
	if err != nil && tryGroup("devices") == nil {
		d.ok("device filter", "by cgroup1's devices controller")
		return
	}
	d.judge(Warning, "device filter", err, "put an eBPF program on a cgroup",
		"device nodes are kept from acting by nodev alone: boot a kernel with CONFIG_CGROUP_BPF")
}

func tryAppArmor() error {
	enabled, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	switch {
	case err != nil:
		return errors.New("this kernel has none")
	case strings.TrimSpace(string(enabled)) != "Y":
		return errors.New("switched off at boot (apparmor=1 security=apparmor)")
	case unix.Access("/sys/kernel/security/apparmor/.replace", unix.W_OK) != nil:
		return errors.New("securityfs is not mounted on /sys/kernel/security")
	case hook.LookTool("apparmor_parser") == "":
		return errors.New("apparmor_parser is missing (install the package apparmor)")
	}
	return nil
}

// trySeccomp asks whether filters can answer with an errno (seccomp(2)).
func trySeccomp() error {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action)))
	if errno != 0 {
		return fmt.Errorf("the kernel has no filters: %w", errno)
	}
	return nil
}

// tryDeviceFilter puts the smallest program of the kind, "return 1", on a group
// without processes. The structs are the heads of union bpf_attr of BPF_PROG_LOAD
// and BPF_PROG_ATTACH (bpf(2)); to the kernel the rest is zero.
func tryDeviceFilter() error {
	program := [2]uint64{0x1_0000_00b7, 0x95} // r0 = 1; exit
	license := [4]byte{'G', 'P', 'L'}
	load := struct {
		kind, count           uint32
		instructions, license uint64
		logLevel, logSize     uint32
		log                   uint64
	}{kind: unix.BPF_PROG_TYPE_CGROUP_DEVICE, count: uint32(len(program))}
	load.instructions = uint64(uintptr(unsafe.Pointer(&program)))
	load.license = uint64(uintptr(unsafe.Pointer(&license)))
	loaded, _, errno := unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_LOAD, uintptr(unsafe.Pointer(&load)), unsafe.Sizeof(load))
	runtime.KeepAlive(&program)
	runtime.KeepAlive(&license)
	if errno != 0 {
		return fmt.Errorf("the kernel takes no program for it: %w", errno)
	}
	defer unix.Close(int(loaded))
	group, err := cgroup.Make(cgroupRoot, trialName())
	if err != nil {
		return err
	}
	defer func() { _ = removeTrial(group) }()
	dir, err := group.Dir()
	if err != nil {
		return err
	}
	defer dir.Close()
	attach := struct{ target, program, kind, flags uint32 }{uint32(dir.Fd()), uint32(loaded), unix.BPF_CGROUP_DEVICE, unix.BPF_F_ALLOW_MULTI}
	if _, _, errno = unix.Syscall(unix.SYS_BPF, unix.BPF_PROG_ATTACH, uintptr(unsafe.Pointer(&attach)), unsafe.Sizeof(attach)); errno != 0 {
		return fmt.Errorf("the kernel takes no program on a cgroup: %w", errno)
	}
	return nil // it goes with the group
}
