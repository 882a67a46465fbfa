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

// legacyBase is where init systems mount each cgroup1 controller, under its name; where two are mounted together
// (cpu,cpuacct) the names are links.
const legacyBase = "/sys/fs/cgroup"

// MissingController says that neither version of cgroups has it here.
type MissingController struct{ Name string }

func (e *MissingController) Error() string {
	return fmt.Sprintf("this machine has no cgroup controller %q: boot a kernel that has it and does not disable it "+
		"(cgroup_enable=%s on its command line), or unset the limit", e.Name, e.Name)
}

// hierarchy is a mounted tree of groups that has a controller.
type hierarchy struct {
	root    string
	unified bool // cgroup2
}

// hierarchyOf prefers cgroup2: a controller is in one tree at a time.
func hierarchyOf(controller string) (hierarchy, error) {
	if base, err := Root(); err == nil && lists(base+"/cgroup.controllers", controller) {
		return hierarchy{base, true}, nil
	}
	if h, ok := legacy(controller); ok {
		return h, nil
	}
	return hierarchy{}, &MissingController{controller}
}

func legacy(controller string) (hierarchy, bool) {
	dir := filepath.Join(legacyBase, controller)
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil || st.Type != unix.CGROUP_SUPER_MAGIC {
		return hierarchy{}, false
	}
	return hierarchy{root: dir}, true
}

func lists(path, word string) bool {
	data, err := os.ReadFile(path)
	return err == nil && slices.Contains(strings.Fields(string(data)), word)
}

func (h hierarchy) dir(elem []string) string {
	return filepath.Join(append([]string{h.root}, elem...)...)
}

// make makes the group elem with the controller's files in it.
func (h hierarchy) make(controller string, elem []string) error {
	// A clean-up elsewhere may remove an empty parent between two of our steps.
	var err error
	for range 10 {
		if err = os.MkdirAll(h.dir(elem), 0o755); err == nil && h.unified {
			err = h.enable(controller, elem)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return err
}

// enable gives a cgroup2 controller to the group elem: every group above it must hand it down, the root first. Groups
// above ours hold no processes of ours, as the kernel asks ("no internal process constraint", cgroup-v2.rst); the root
// of the machine's tree is exempt. systemd takes a controller back from the root only when no child uses it, because
// the kernel refuses otherwise (EBUSY), so that what is enabled here stays.
func (h hierarchy) enable(controller string, elem []string) error {
	for depth := range elem {
		dir := h.dir(elem[:depth])
		if lists(dir+"/cgroup.subtree_control", controller) {
			continue
		}
		err := writeFile(dir+"/cgroup.subtree_control", "+"+controller)
		if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EOPNOTSUPP) {
			return fmt.Errorf("cannot enable cgroup controller %s in %s: processes are in that group itself: move them into one below it", controller, dir)
		}
		if err != nil {
			return fmt.Errorf("cannot enable cgroup controller %s: %w", controller, err)
		}
	}
	return nil
}

// Account has the kernel count what the group elem uses, as far as cgroup2 can: ReadUsage then knows more. The group
// exists. What cannot be had is left out.
func Account(elem ...string) {
	base, err := Root()
	if err != nil {
		return
	}
	for _, c := range controllers {
		if lists(base+"/cgroup.controllers", c.name) {
			_ = hierarchy{base, true}.enable(c.name, elem)
		}
	}
}

// EnterLegacy puts a process with its threads into the cgroup1 groups that Limit made for elem. Without such groups,
// as on a machine with cgroup2 alone, it does nothing.
func EnterLegacy(pid int, elem ...string) error {
	for _, dir := range legacyGroups(elem) {
		if err := writeFile(dir+"/cgroup.procs", fmt.Sprint(pid)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot put process %d into cgroup: %w", pid, err)
		}
	}
	return nil
}

// legacyGroups are the existing cgroup1 groups of that name, in the trees that Limit uses.
func legacyGroups(elem []string) []string {
	var dirs []string
	for _, c := range controllers {
		h, ok := legacy(c.name)
		if !ok || len(elem) == 0 || slices.ContainsFunc(elem, func(e string) bool { return !ValidName(e) }) {
			continue
		}
		if _, err := os.Stat(h.dir(elem)); err == nil {
			dirs = append(dirs, h.dir(elem))
		}
	}
	return dirs
}

// Paths lists the directories of the group elem that exist, in every tree.
func Paths(elem ...string) []string {
	var dirs []string
	if g := Open(elem...); g.dir != "" {
		if _, err := os.Stat(g.dir); err == nil {
			dirs = append(dirs, g.dir)
		}
	}
	return append(dirs, legacyGroups(elem)...)
}

// RemoveLegacy ends what is still in the cgroup1 groups of elem, removes them, and those above them that are empty
// now. It is for a group whose processes are dead or may be killed.
func RemoveLegacy(elem ...string) error {
	var errs []error
	for _, dir := range legacyGroups(elem) {
		if err := removeTree(dir); err != nil {
			errs = append(errs, err)
			continue
		}
		for range elem[1:] {
			dir = filepath.Dir(dir)
			if os.Remove(dir) != nil {
				break // somebody else's is in it
			}
		}
	}
	return errors.Join(errs...)
}

// removeTree polls: cgroup1 tells nobody when a group is empty.
func removeTree(dir string) error {
	g := &Group{dir: dir}
	for end := time.Now().Add(killLimit); ; time.Sleep(time.Millisecond) {
		err := unix.Rmdir(dir)
		if err == nil || gone(err) {
			return nil
		}
		if !errors.Is(err, unix.EBUSY) || time.Now().After(end) {
			return fmt.Errorf("cannot remove cgroup %q: %w", dir, err)
		}
		children, err := g.Children()
		if err != nil {
			return err
		}
		for _, name := range children {
			if err := removeTree(dir + "/" + name); err != nil {
				return err
			}
		}
		if _, err := g.signal(unix.SIGKILL); err != nil {
			return err
		}
	}
}
