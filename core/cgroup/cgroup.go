// SPDX-License-Identifier: Apache-2.0

// Package cgroup makes, signals, empties and removes cgroup2 groups, so that a set of processes can be ended as a
// whole whatever its members do (fork, ignore signals, start sessions); and it limits and counts what such a set uses,
// with whichever version of cgroups has the controller on this machine.
//
// A Group works wherever a cgroup2 hierarchy is mounted in one of the two usual places, with or without controllers.
// Limit and what goes with it (Account, EnterLegacy, ReadUsage, RemoveLegacy) make a group's twins of the same name in
// cgroup1 hierarchies where a controller is there and not in cgroup2; LeaveTracking leaves cgroup1 groups that somebody
// else made. It never reads the mount table.
//
// A Group is a name and holds no descriptor: it may be used from several goroutines, and it may stand for a group
// that does not exist (any more), which is treated as empty. Nothing here locks: two processes that make and remove
// the same group at once each see a group or its absence, never an error caused by the other's half-way state.
//
// Failure promise: an error leaves at most an empty group behind, which a later Remove takes away.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// ErrNone is what Root and Make return on a machine without a mounted cgroup2 hierarchy.
var ErrNone = errors.New("no cgroup2 hierarchy is mounted on /sys/fs/cgroup or /sys/fs/cgroup/unified")

// candidates are where init systems mount cgroup2: alone, or beside cgroup1 (hybrid).
var candidates = []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}

var root = sync.OnceValues(func() (string, error) { return findRoot(candidates) })

// Root returns the cgroup2 mount point. The first answer is kept for the life of the process.
func Root() (string, error) { return root() }

func findRoot(dirs []string) (string, error) {
	for _, dir := range dirs {
		var st unix.Statfs_t
		if unix.Statfs(dir, &st) == nil && st.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, nil
		}
	}
	return "", ErrNone
}

// Group is one cgroup2 group with everything below it. The zero value is no group: all its methods fail.
type Group struct{ dir string }

// Open names a group without looking whether it exists. Elements that Make would refuse, or a missing hierarchy,
// give a group whose methods all return that error.
func Open(elem ...string) *Group {
	dir, err := resolve(elem)
	if err != nil {
		return &Group{}
	}
	return &Group{dir: dir}
}

// Make makes the group and the groups above it as far as they are missing. An element is one directory name.
func Make(elem ...string) (*Group, error) {
	dir, err := resolve(elem)
	if err != nil {
		return nil, fmt.Errorf("cannot make cgroup %q: %w", strings.Join(elem, "/"), err)
	}
	// A clean-up elsewhere may remove an empty parent between two of our steps.
	for range 10 {
		if err = os.MkdirAll(dir, 0o755); err == nil {
			return &Group{dir: dir}, nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return nil, fmt.Errorf("cannot make cgroup %q: %w", strings.Join(elem, "/"), err)
}

// ValidName says whether name can be one element of a group's path.
func ValidName(name string) bool {
	return name != "" && len(name) <= 255 && name != "." && name != ".." && !strings.HasPrefix(name, "cgroup.") &&
		!strings.ContainsAny(name, "/\n\x00")
}

func resolve(elem []string) (string, error) {
	base, err := Root()
	if err != nil {
		return "", err
	}
	if len(elem) == 0 {
		return "", errors.New("empty name")
	}
	for _, e := range elem {
		if !ValidName(e) {
			return "", fmt.Errorf("bad name %q", e)
		}
	}
	return filepath.Join(append([]string{base}, elem...)...), nil
}

// Path is the group's directory, "" for a group that Open could not name.
func (g *Group) Path() string { return g.dir }

// Dir opens the group's directory for SysProcAttr.CgroupFD. The caller closes it.
func (g *Group) Dir() (*os.File, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(g.dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open cgroup: %w", err)
	}
	return f, nil
}

// Children names the groups directly below, in name order. A group that does not exist has none.
func (g *Group) Children() ([]string, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(g.dir)
	if err != nil {
		if gone(err) {
			return nil, nil
		}
		return nil, fmt.Errorf("cannot read cgroup: %w", err)
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// Child names the group elem directly below g, without looking whether it exists.
func (g *Group) Child(elem string) *Group {
	if g.dir == "" || !ValidName(elem) {
		return &Group{}
	}
	return &Group{dir: g.dir + "/" + elem}
}

func (g *Group) check() error {
	if g.dir != "" {
		return nil
	}
	if _, err := Root(); err != nil {
		return err
	}
	return errors.New("bad cgroup name")
}

// gone tells an absent group. ENODEV is what a kernfs file of a removed group answers to those who hold it open.
func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
