// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Usage is what a layer takes on disk, counted as du(1) does: hard links once,
// holes not at all, the layer's own directory too.
type Usage struct {
	Bytes, Inodes int64
	// Partial: the time was over, or the tree too deep; there is more.
	Partial bool
}

// maxDepth bounds the descriptors that a hostile tree costs.
const maxDepth = 256

// Measure counts a layer that an instance may be changing, for no longer than
// limit. It follows no link and enters no mount.
func Measure(rw string, limit time.Duration) (Usage, error) {
	fd, err := unix.Open(rw, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return Usage{}, fmt.Errorf("cannot measure %s: %w", rw, err)
	}
	w := &measure{end: time.Now().Add(limit), links: map[uint64]bool{}}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return Usage{}, fmt.Errorf("cannot measure %s: %w", rw, err)
	}
	w.dev = st.Dev
	w.count(&st)
	w.walk(os.NewFile(uintptr(fd), rw), 0)
	return w.usage, nil
}

type measure struct {
	usage Usage
	end   time.Time
	dev   uint64
	links map[uint64]bool // inodes with several names that were seen
}

func (w *measure) count(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		if w.links[st.Ino] {
			return
		}
		w.links[st.Ino] = true
	}
	w.usage.Bytes += st.Blocks * 512
	w.usage.Inodes++
}

// walk closes dir. What disappears meanwhile is not counted.
func (w *measure) walk(dir *os.File, depth int) {
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(256)
		for _, name := range names {
			if time.Now().After(w.end) {
				w.usage.Partial = true
				return
			}
			w.entry(dir, name, depth)
		}
		if errors.Is(err, io.EOF) || len(names) == 0 {
			return
		}
	}
}

func (w *measure) entry(dir *os.File, name string, depth int) {
	var st unix.Stat_t
	at := int(dir.Fd())
	if unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != w.dev {
		return
	}
	w.count(&st)
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return
	}
	if depth == maxDepth {
		w.usage.Partial = true
		return
	}
	fd, err := unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		w.walk(os.NewFile(uintptr(fd), name), depth+1)
	}
}
