// SPDX-License-Identifier: Apache-2.0

package treecopy

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// Tree is a directory that paths are resolved in.
type Tree struct {
	// Root is "/" for absolute paths and links.
	Root *os.File
	// Resolve is how openat2(2) is to walk from Root.
	Resolve uint64
	// Count ids from First on are 0 and so on to who lives in the tree, in a user
	// namespace; with 0 all ids are what they are.
	First, Count int
}

// nobody is an id for what has none (the kernel's overflowuid).
const nobody = 65534

// inside is an id of this machine as who lives in the tree knows it.
func (t Tree) inside(id int) int {
	switch {
	case t.Count == 0:
		return id
	case id < t.First || id >= t.First+t.Count:
		return nobody
	}
	return id - t.First
}

// outside undoes inside.
func (t Tree) outside(id int) int {
	switch {
	case t.Count == 0:
		return id
	case id < 0 || id >= t.Count:
		id = nobody
	}
	return t.First + id
}

// Inside resolves as a process with this root would, and follows no magic links.
func Inside(root *os.File) Tree {
	return Tree{Root: root, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS}
}

// Below follows no links at all: for a directory of this machine that receives
// what somebody else named.
func Below(dir *os.File) Tree {
	return Tree{Root: dir, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS}
}

// open gives an O_PATH descriptor unless flags say otherwise. A race with a
// renaming owner of the tree makes openat2(2) ask for another try.
func (t Tree) open(name string, flags uint64) (*os.File, error) {
	how := &unix.OpenHow{Flags: flags | unix.O_CLOEXEC, Resolve: t.Resolve}
	for range 100 {
		fd, err := unix.Openat2(int(t.Root.Fd()), relative(name), how)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: name, Err: err}
		}
		return os.NewFile(uintptr(fd), name), nil
	}
	return nil, fmt.Errorf("cannot open %q: it is being renamed all the time", name)
}

// relative also keeps a slash at the end, which asks for a directory.
func relative(name string) string {
	name = strings.TrimLeft(name, "/")
	if name == "" {
		return "."
	}
	return name
}

// Lstat looks at name without following a link at its end.
func (t Tree) Lstat(name string) (unix.Stat_t, error) {
	var st unix.Stat_t
	flags := uint64(unix.O_PATH)
	if !strings.HasSuffix(name, "/") {
		flags |= unix.O_NOFOLLOW
	}
	f, err := t.open(name, flags)
	if err != nil {
		return st, err
	}
	defer f.Close()
	return st, unix.Fstat(int(f.Fd()), &st)
}

// IsDir follows a link at the end of name, as the destination of a copy does.
func (t Tree) IsDir(name string) bool {
	f, err := t.open(name, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	f.Close()
	return true
}

// Sub is the directory name of t as a tree of its own that follows no links.
func (t Tree) Sub(name string) (Tree, error) {
	f, err := t.open(name, unix.O_PATH|unix.O_DIRECTORY)
	sub := Below(f)
	sub.First, sub.Count = t.First, t.Count
	return sub, err
}

// Close closes the root.
func (t Tree) Close() { t.Root.Close() }

// Split is the directory and the last name of a path; a last name that is none
// is ".".
func Split(name string) (dir, base string) {
	clean := strings.TrimRight(name, "/")
	base = path.Base("/" + clean)
	if base == "/" || base == "." || base == ".." {
		return name, "."
	}
	return clean[:len(clean)-len(base)] + ".", base
}

// reopen opens what fd, an O_PATH descriptor of a regular file or a directory,
// stands for.
func reopen(f *os.File, flags int) (*os.File, error) {
	fd, err := unix.Open(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), flags|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: f.Name(), Err: err}
	}
	return os.NewFile(uintptr(fd), f.Name()), nil
}
