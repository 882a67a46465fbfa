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

	"golang.org/x/sys/unix"
)

// ErrNoDeviceFilter says that neither cgroup2 with eBPF nor the cgroup1
// controller is there.
var ErrNoDeviceFilter = errors.New("this machine has no device filter: neither eBPF for cgroup2 (CONFIG_CGROUP_BPF) nor the cgroup1 controller \"devices\"")

// AttachDevices bounds a cgroup2 group to the nodes of list by an eBPF program
// (devicefilter.Attach). It is a parameter so that a supervisor need not link what
// makes programs.
type AttachDevices func(list []Device, group *Group) error

// AllowDevices bounds the existing cgroup2 group elem, and what is below it, to
// the nodes of list; nobody in it can lift that. It needs no controller, so it
// also works where cgroup2 is mounted beside cgroup1. Without eBPF it makes the
// group elem in the cgroup1 hierarchy "devices", which every process must enter
// (EnterDevices) and which RemoveDevices ends: legacy is true then.
func AllowDevices(attach AttachDevices, list []Device, elem ...string) (legacy bool, err error) {
	failed := attach(list, Open(elem...))
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
