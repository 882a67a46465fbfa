// SPDX-License-Identifier: Apache-2.0

package treewatch

import (
	"encoding/binary"
	"hash/fnv"
	"io/fs"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// longestPause bounds how late a change is seen that is looked for.
const longestPause = 2 * time.Second

// scanAll looks through all trees.
func (w *Watcher) scanAll() {
	begun := time.Now()
	for _, r := range w.roots {
		if mark := scan(r.path); mark != r.mark {
			r.mark, r.seen = mark, identityOf(r.path)
			w.changed(r)
		}
	}
	w.cost = time.Since(begun)
}

// pollPause is how long to wait for the next look. Most of the time nothing is
// looked at.
func (w *Watcher) pollPause(settle time.Duration) time.Duration {
	return min(max(settle, 10*time.Millisecond, 9*w.cost), longestPause)
}

// scan sums up a tree: it is another number when anything was changed, made or
// removed. A change of content, mode or owner changes the ctime, which nobody can
// set back (inode(7)).
func scan(top string) uint64 {
	sum := fnv.New64a()
	_ = filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		var st unix.Stat_t
		if err != nil || unix.Lstat(path, &st) != nil {
			return nil
		}
		var numbers []byte
		for _, n := range []uint64{st.Dev, st.Ino, uint64(st.Ctim.Sec), uint64(st.Ctim.Nsec)} {
			numbers = binary.LittleEndian.AppendUint64(numbers, n)
		}
		_, _ = sum.Write(append(numbers, path...))
		return nil
	})
	return sum.Sum64()
}
