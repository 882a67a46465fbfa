// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
)

// cgroups looks at what ends all processes of an instance or a hook at once, and
// at what limits them.
func (d *doctor) cgroups(context.Context) {
	base, err := cgroup.Root()
	if err == nil {
		err = tryUnified()
	}
	d.judge(Warning, "cgroup2", err, "made and removed a group in "+base,
		"what a hook leaves running is found by searching all processes only: mount -t cgroup2 none /sys/fs/cgroup/unified")
	for _, c := range []struct{ name, without string }{
		{"memory", "memory cannot be limited"},
		{"cpu", "CPU time cannot be limited"},
		{"pids", "the number of processes cannot be limited"},
		{"freezer", "instances cannot be paused"},
	} {
		version, err := tryController(base, c.name)
		d.judge(Warning, c.name+" controller", err, "in cgroup"+version,
			c.without+": boot a kernel that has it and does not disable it (cgroup_enable="+c.name+")")
	}
}

// tryUnified makes a group as those of hooks and instances are.
func tryUnified() error {
	group, err := cgroup.Make(cgroupRoot, trialName())
	if err != nil {
		return err
	}
	return removeTrial(group)
}

// removeTrial removes a group, and the program's own if nothing else is in it.
func removeTrial(group *cgroup.Group) error {
	err := group.Remove()
	_ = unix.Rmdir(filepath.Dir(group.Path())) // refused where there are others
	return err
}

// tryController says in which version of cgroups a controller is, and that a group
// can be made where that changes nothing for others.
func tryController(unified, name string) (version string, err error) {
	if unified != "" {
		list, _ := os.ReadFile(filepath.Join(unified, "cgroup.controllers"))
		if name == "freezer" || slices.Contains(strings.Fields(string(list)), name) {
			return "2", nil // cgroup2 freezes without a controller, from 5.2 on
		}
	}
	return "1", tryGroup(name)
}

// tryGroup makes a cgroup1 group of a controller and removes it.
func tryGroup(controller string) error {
	base := filepath.Join("/sys/fs/cgroup", controller)
	var st unix.Statfs_t
	if unix.Statfs(base, &st) != nil || st.Type != unix.CGROUP_SUPER_MAGIC {
		return errors.New("neither version of cgroups has it")
	}
	dir := filepath.Join(base, trialName())
	if err := unix.Mkdir(dir, 0o755); err != nil {
		return fmt.Errorf("no group can be made in %s: %w", base, err)
	}
	if err := unix.Rmdir(dir); err != nil {
		return fmt.Errorf("cannot remove cgroup %s: %w", dir, err)
	}
	return nil
}

// trialName names what only this process makes, to try.
func trialName() string { return fmt.Sprintf("firmwared-doctor-%d", os.Getpid()) }
