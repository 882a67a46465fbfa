// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func has(list []string, word string) bool { return slices.Contains(list, word) }

// inside says whether path is dir or below it.
func inside(dir, path string) bool { return path == dir || strings.HasPrefix(path, dir+"/") }

// writeFile makes a file and the directories above it.
func writeFile(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), 0o644)
}

// copyTree copies a file or a tree with all that belongs to it. cp(1) does that better than what could stand here.
func copyTree(from, to string) error {
	out, err := exec.Command("cp", "-aH", "--sparse=always", "--", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("cannot copy the sample (the test keeps copies of it in memory): %s", oneLine(string(out)))
	}
	return nil
}

// entry is what is compared of a file. Access times are not, nor are the bytes of a file of more than a megabyte
// beyond its first.
type entry struct {
	mode  fs.FileMode
	size  int64
	mtime int64
	owner string
	sum   [sha256.Size]byte
	link  string
}

// snapshot reads a tree; skip leaves directories and files out, with all below them. Mounts in it are read as well.
func snapshot(dir string, skip ...string) (map[string]entry, error) {
	tree := map[string]entry{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if has(skip, path) {
			if d != nil && d.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		e := entry{mode: info.Mode(), mtime: st.Mtim.Nano(), owner: fmt.Sprintf("%d:%d", st.Uid, st.Gid)}
		switch {
		case info.Mode().IsRegular():
			e.size = info.Size()
			e.sum = sumOf(path)
		case info.Mode()&fs.ModeSymlink != 0:
			e.link, _ = os.Readlink(path)
		}
		rel, _ := filepath.Rel(dir, path)
		tree[rel] = e
		return nil
	})
	return tree, err
}

func sumOf(path string) (sum [sha256.Size]byte) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return sum
	}
	defer f.Close()
	h := sha256.New()
	_, _ = io.CopyN(h, f, 1<<20)
	copy(sum[:], h.Sum(nil))
	return sum
}

// differ names one difference between two trees: what came or went before what was changed by that.
func differ(before, after map[string]entry) error {
	var changed string
	for path, was := range before {
		is, ok := after[path]
		if !ok {
			return fmt.Errorf("%q is gone", path)
		}
		if is != was && (changed == "" || !is.mode.IsDir()) {
			changed = path
		}
	}
	for path := range after {
		if _, ok := before[path]; !ok {
			return fmt.Errorf("%q is new", path)
		}
	}
	if changed != "" {
		return fmt.Errorf("%q was changed", changed)
	}
	return nil
}

// commands names processes.
func commands(pids []int) []string {
	var names []string
	for _, pid := range pids {
		line, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		words := strings.TrimSpace(string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		names = append(names, strings.TrimSpace(fmt.Sprintf("%d %.60s", pid, words)))
	}
	return names
}
