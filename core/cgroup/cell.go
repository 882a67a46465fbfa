// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// EnterCell takes a process with its threads out of those cgroup1 groups that have
// groups below them, into the group name at the root of the same tree, which has
// none and is made if it is missing. Whoever then gets a cgroup namespace and mounts
// the tree finds nobody else's groups in it. The group is for any number of
// processes, and RemoveCell ends it.
//
// A group that has none below it is left alone, as moving waits for an RCU grace
// period (7 to 16 ms): what is made there later can be seen, by name alone, by a
// process that stayed.
func EnterCell(pid int, name string) error {
	groups, err := legacyGroupsOf(pid)
	for tree, dir := range groups {
		var st unix.Stat_t
		// Each directory below counts as a link (kernfs).
		if err := unix.Stat(dir, &st); err != nil || st.Nlink <= 2 {
			continue
		}
		if err := enterCell(pid, tree, filepath.Join(tree, name)); err != nil {
			return fmt.Errorf("cannot put process %d into cgroup: %w", pid, err)
		}
	}
	return err
}

// EnterCellAs takes a process into the group name where the process of an earlier
// EnterCell is in it.
func EnterCellAs(pid, other int, name string) error {
	groups, err := legacyGroupsOf(other)
	for tree, dir := range groups {
		if dir != filepath.Join(tree, name) {
			continue
		}
		if err := enterCell(pid, tree, dir); err != nil {
			return fmt.Errorf("cannot put process %d into cgroup: %w", pid, err)
		}
	}
	return err
}

func enterCell(pid int, tree, dir string) (err error) {
	for range 10 { // a clean-up elsewhere may remove it between two steps
		err = writeFile(dir+"/cgroup.procs", strconv.Itoa(pid))
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err = makeCell(tree, dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// makeCell gives the new group what a process needs to enter it: cpuset begins
// with no CPU and no memory node (cgroup-v1/cpusets.rst).
func makeCell(tree, dir string) error {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	for _, file := range []string{"/cpuset.cpus", "/cpuset.mems"} {
		all, err := os.ReadFile(tree + file)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil {
			err = writeFile(dir+file, strings.TrimSpace(string(all)))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// RemoveCell removes the groups that EnterCell made, as far as nobody is in them.
func RemoveCell(name string) {
	groups, _ := legacyGroupsOf(os.Getpid())
	for tree := range groups {
		_ = unix.Rmdir(filepath.Join(tree, name))
	}
}

// legacyGroupsOf finds the group of a process in each cgroup1 tree that is mounted
// where init systems do, by the tree's mount point.
func legacyGroupsOf(pid int) (map[string]string, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	groups := map[string]string{}
	for line := range strings.Lines(string(data)) {
		// ID:CONTROLLERS:PATH (cgroups(7)); cgroup2 has no controllers there.
		field := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(field) < 3 || field[1] == "" {
			continue
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(field[1], "name="), ",")
		tree := filepath.Join(legacyBase, name)
		var st unix.Statfs_t
		if unix.Statfs(tree, &st) == nil && st.Type == unix.CGROUP_SUPER_MAGIC {
			groups[tree] = filepath.Join(tree, field[2])
		}
	}
	return groups, nil
}
