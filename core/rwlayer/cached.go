// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// What an overlay has not looked up before, it looks up in the layers as they are
// now: only what the kernel has in its cache of names can be old. And to look up
// 20 000 names in an overlay costs far more than all else of a check.

// looker finds what a union shows under a name, like nodeAt, or says errNotCached.
type looker func(union int, name string) (*Node, error)

// notCached stands for the descriptor of a directory that the kernel has not looked up.
const notCached = -1

// resolveCached is RESOLVE_CACHED of openat2(2), which x/sys does not have.
const resolveCached = 0x20

var errNotCached = errors.New("not looked up before")

// looker chooses how to look at the names of a directory of the union.
func (c *checker) looker(lower *Dir, upper *layerDir, union int, names []string) looker {
	switch {
	case union == notCached:
		return func(int, string) (*Node, error) { return nil, errNotCached }
	case c.thorough || upper != nil || len(lower.layers) != 1 || len(names) == 0:
		return nodeAt
	case !stands(union, lower.layers[0].fd) || !tellsCached(union, names[0]):
		return nodeAt
	}
	return cachedAt
}

// stands tells whether a directory of the union is nothing but that of the lower,
// not another one that had its name before: then overlayfs passes on what that
// reads as (ovl_iterate, fs/overlayfs/readdir.c), with its own inode number.
func stands(union, lower int) bool {
	var st unix.Stat_t
	if unix.Fstat(lower, &st) != nil {
		return false
	}
	// A position of its own; and only the first few entries are asked for.
	fd, err := unix.Openat(union, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	var buf [512]byte
	n, err := unix.Getdents(fd, buf[:])
	if err != nil {
		return false
	}
	const header = 19 // d_ino, d_off, d_reclen, d_type: getdents64(2)
	for entry := buf[:n]; len(entry) > header; {
		length := int(binary.NativeEndian.Uint16(entry[16:]))
		if length <= header || length > len(entry) {
			return false
		}
		if unix.ByteSliceToString(entry[header:length]) == "." {
			return binary.NativeEndian.Uint64(entry) == st.Ino
		}
		entry = entry[length:]
	}
	return false
}

// tellsCached tells whether the kernel answers cachedAt for what it certainly has in
// its cache. It does not before 5.12, nor where each use of a name is checked again,
// as on a network file system.
func tellsCached(union int, name string) bool {
	if n, err := nodeAt(union, name); err != nil || n == nil {
		return false
	}
	_, err := cachedAt(union, name)
	return err == nil
}

// cachedAt is nodeAt for a name in the kernel's cache; of others it says errNotCached.
func cachedAt(union int, name string) (*Node, error) {
	fd, err := unix.Openat2(union, name, &unix.OpenHow{
		Flags: unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: resolveCached,
	})
	switch {
	case err == unix.EAGAIN:
		return nil, errNotCached
	case err == unix.ENOENT:
		return nil, nil
	case err != nil:
		return nil, err
	}
	defer unix.Close(fd)
	n := &Node{dir: union, name: name}
	return n, unix.Fstat(fd, &n.Stat)
}
