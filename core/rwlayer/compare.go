// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// NodeAt is the object of that name in any directory, nil if there is none. It
// can be used as long as dir is open.
func NodeAt(dir *os.File, name string) (*Node, error) { return nodeAt(int(dir.Fd()), name) }

// Same says whether two objects have one type, mode and content. Owners, times,
// attributes, and what is in a directory do not count.
func Same(a, b *Node) (bool, error) {
	if a.Type() != b.Type() || a.Stat.Mode != b.Stat.Mode {
		return false, nil
	}
	differs, err := contentDiffers(a, b)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrReplaced) {
		return false, nil
	}
	return !differs, err
}

// Born is when an rw layer got its opinion of a path: when what it has there was
// copied up, made or deleted, or else what it has above it. The time is zero if
// the file system keeps none.
func Born(rw, path string) (born time.Time, err error) {
	dir, err := openLayer(unix.AT_FDCWD, rw)
	if err != nil {
		return born, err
	}
	defer func() { dir.close() }()
	for _, name := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' }) {
		var st unix.Statx_t
		err := unix.Statx(dir.fd, name, unix.AT_SYMLINK_NOFOLLOW, unix.STATX_BTIME|unix.STATX_TYPE, &st)
		if errors.Is(err, fs.ErrNotExist) {
			return born, nil
		}
		if err != nil {
			return born, err
		}
		born = time.Time{}
		if st.Mask&unix.STATX_BTIME != 0 {
			born = time.Unix(st.Btime.Sec, int64(st.Btime.Nsec))
		}
		if st.Mode&unix.S_IFMT != unix.S_IFDIR {
			return born, nil
		}
		next, err := openLayer(dir.fd, name)
		if err != nil {
			return born, err
		}
		dir.close()
		dir = next
	}
	return born, nil
}
