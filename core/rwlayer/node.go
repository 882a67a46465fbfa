// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Node is an object in a layer, reached by its directory's descriptor and its
// own name, so that no link leads elsewhere. It can be used while the function
// that was handed it runs.
type Node struct {
	Stat unix.Stat_t
	dir  int
	name string
}

// nodeAt returns nil for a name that does not exist, or no longer does.
func nodeAt(dir int, name string) (*Node, error) {
	n := &Node{dir: dir, name: name}
	err := unix.Fstatat(dir, name, &n.Stat, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return n, err
}

// Type is the S_IFMT part of the mode.
func (n *Node) Type() uint32 { return n.Stat.Mode & unix.S_IFMT }

// IsDir says whether it is a directory.
func (n *Node) IsDir() bool { return n.Type() == unix.S_IFDIR }

// Open opens a regular file for reading. Whatever a running instance puts in its
// place meanwhile, nothing else is opened, and nothing is waited for.
func (n *Node) Open() (*os.File, error) {
	fd, err := unix.Openat(n.dir, n.name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		unix.Close(fd)
		return nil, errors.Join(err, ErrReplaced)
	}
	return os.NewFile(uintptr(fd), n.name), nil
}

// ErrReplaced is an object that a running instance replaced while it was looked at.
var ErrReplaced = errors.New("it was replaced meanwhile")

// Readlink is the target of a symbolic link, at most 4 KiB.
func (n *Node) Readlink() (string, error) {
	buf := make([]byte, unix.PathMax)
	size, err := unix.Readlinkat(n.dir, n.name, buf)
	return string(buf[:max(size, 0)]), err
}

// Xattrs are the extended attributes, without those that overlayfs keeps for
// itself.
func (n *Node) Xattrs() (map[string]string, error) {
	all, err := n.allXattrs()
	for name := range all {
		if strings.HasPrefix(name, overlayPrefix) {
			delete(all, name)
		}
	}
	return all, err
}

// allXattrs are the extended attributes.
func (n *Node) allXattrs() (map[string]string, error) {
	fd, err := unix.Openat(n.dir, n.name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	// fgetxattr(2) refuses such a descriptor, a path through /proc leads to its object.
	path := fmt.Sprintf("/proc/self/fd/%d", fd)
	list, err := sized(func(buf []byte) (int, error) { return unix.Listxattr(path, buf) })
	if errors.Is(err, unix.ENOTSUP) || len(list) == 0 && err == nil {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, name := range strings.Split(strings.TrimRight(string(list), "\x00"), "\x00") {
		value, err := sized(func(buf []byte) (int, error) { return unix.Getxattr(path, name, buf) })
		if errors.Is(err, unix.ENODATA) {
			continue // gone since it was listed
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[name] = string(value)
	}
	return all, nil
}

// sized calls a function that fills a buffer or tells the size that it needs.
func sized(get func([]byte) (int, error)) ([]byte, error) {
	buf := make([]byte, 256)
	for {
		n, err := get(buf)
		if err == nil {
			return buf[:n], nil
		}
		if !errors.Is(err, unix.ERANGE) || len(buf) > 64<<10 {
			return nil, err
		}
		buf = make([]byte, 128<<10) // XATTR_SIZE_MAX and XATTR_LIST_MAX are half of it
	}
}

// Attributes in which overlayfs keeps its books (fs/overlayfs/overlayfs.h).
const (
	overlayPrefix   = "trusted.overlay."
	overlayOpaque   = overlayPrefix + "opaque"
	overlayWhiteout = overlayPrefix + "whiteout"
	overlayRedirect = overlayPrefix + "redirect"
	overlayMetacopy = overlayPrefix + "metacopy"
)
