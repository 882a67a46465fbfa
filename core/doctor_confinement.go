// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"

	"firmwared/core/apparmor"
	"firmwared/core/cgroup"
	"firmwared/core/devicefilter"
)

// confinement looks at what can keep an instance from harming this machine. None
// is a problem by itself: others may stand.
func (d *doctor) confinement(ctx context.Context) {
	d.judge(Warning, "AppArmor", apparmor.Enforces(), "enabled, and its parser is there", "instances go without profiles")
	d.judge(Warning, "seccomp", trySeccomp(), "filters can return errors", "boot a kernel with CONFIG_SECCOMP_FILTER")
	d.judge(Warning, "user namespace", inNamespace(ctx, unix.CLONE_NEWUSER), "made one",
		"boot a kernel with CONFIG_USER_NS, and see that /proc/sys/user/max_user_namespaces is not 0")
	how, err := tryDeviceFilter()
	d.judge(Warning, "device filter", err, how,
		"device nodes are kept from acting by nodev alone: boot a kernel with CONFIG_CGROUP_BPF")
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

// tryDeviceFilter bounds a group without processes to no device at all.
func tryDeviceFilter() (how string, err error) {
	name := []string{cgroupRoot, trialName()}
	group, err := cgroup.Make(name...)
	switch {
	case err == nil:
		defer func() { err = errors.Join(err, removeTrial(group)) }()
	case !errors.Is(err, cgroup.ErrNone):
		return "", err
	}
	legacy, err := cgroup.AllowDevices(devicefilter.Attach, nil, name...)
	if !legacy {
		return "put an eBPF program on a cgroup", err
	}
	return "by cgroup1's devices controller", cgroup.RemoveDevices(name...)
}
