// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
)

// kernel looks at what every instance needs.
func (d *doctor) kernel(ctx context.Context) {
	if hasFileSystem(ctx, "overlay") {
		d.ok("overlay", "the kernel has it, or a module for it")
	} else {
		d.bad(Problem, "overlay", "the kernel has no overlayfs, and no module for it", "boot a kernel with CONFIG_OVERLAY_FS, or set another union_hook")
	}
	for _, ns := range []struct {
		kind, config string
		flag         uintptr
	}{
		{"mnt", "NAMESPACES", unix.CLONE_NEWNS}, {"pid", "PID_NS", unix.CLONE_NEWPID}, {"uts", "UTS_NS", unix.CLONE_NEWUTS},
		{"ipc", "IPC_NS", unix.CLONE_NEWIPC}, {"net", "NET_NS", unix.CLONE_NEWNET}, {"cgroup", "CGROUPS", unix.CLONE_NEWCGROUP},
	} {
		d.judge(Problem, ns.kind+" namespace", inNamespace(ctx, ns.flag), "made one",
			fmt.Sprintf("boot a kernel with CONFIG_%s, see that /proc/sys/user/max_%s_namespaces is not 0, and run firmwared outside of containers", ns.config, ns.kind))
	}
	d.judge(Problem, "pidfd", tryPidfd(), "opened one and signalled by it", "boot Linux 5.3 or newer")
	d.judge(Problem, "loop devices", tryLoop(), "there is a free one",
		"images cannot be mounted, directories can: modprobe loop, or let this container have /dev/loop-control and /dev/loop*")
	d.foreign()
}

// inNamespace makes a namespace of one kind by starting this program in it.
func inNamespace(ctx context.Context, flag uintptr) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "version")
	cmd.Env = hook.FixedEnv()
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: flag}
	var errno syscall.Errno
	if err := cmd.Run(); errors.As(err, &errno) {
		return fmt.Errorf("cannot make one: %w", errno)
	} else if err != nil {
		return fmt.Errorf("cannot run in one: %w", err)
	}
	return nil
}

func tryPidfd() error {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err == nil {
		err = errors.Join(unix.PidfdSendSignal(fd, 0, nil, 0), unix.Close(fd))
	}
	return err
}

// tryLoop asks for the number of a free device; the kernel makes a new one where
// none is free.
func tryLoop() error {
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer control.Close()
	number, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
	if err != nil {
		return fmt.Errorf("no free one: %w", err)
	}
	device, err := os.Open(fmt.Sprintf("/dev/loop%d", number))
	if err != nil {
		return fmt.Errorf("the free one cannot be opened: %w", err)
	}
	return device.Close()
}

// foreign looks for handlers of programs for other CPUs.
func (d *doctor) foreign() {
	const dir = "/proc/sys/fs/binfmt_misc"
	const advice = "only for firmware of another CPU: mount -t binfmt_misc none " + dir + ", and install qemu-user-static"
	if !exists(filepath.Join(dir, "register")) {
		d.bad(Warning, "binfmt_misc", "not there, or not mounted", advice)
		return
	}
	var names []string
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err == nil && strings.HasPrefix(string(text), "enabled\ninterpreter ") {
			names = append(names, entry.Name())
		}
	}
	if len(names) == 0 {
		d.ok("binfmt_misc", "mounted; no handler, so firmware of this CPU only")
		return
	}
	d.ok("binfmt_misc", "handlers: "+strings.Join(names, " "))
}
