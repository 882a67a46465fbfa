// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRewritten: regular files of the lowers, by their change; the rest of the view does not matter.
func TestRewritten(t *testing.T) {
	w := newWorld(t, 2)
	old := filepath.Join(w.lowers[1], "old")
	must(t, os.WriteFile(old, nil, 0o644))
	must(t, os.Mkdir(filepath.Join(w.lowers[1], "dir"), 0o755))
	must(t, os.WriteFile(filepath.Join(w.lowers[1], "dir", "low"), nil, 0o644))
	must(t, os.WriteFile(filepath.Join(w.lowers[0], "top"), nil, 0o644))
	must(t, os.Symlink("/etc/passwd", filepath.Join(w.lowers[0], "link")))
	paths := []string{"/dir", "/dir/low", "/gone", "/link", "/link/file", "/old", "/top", "/"}
	for _, c := range []struct {
		since unix.Timespec
		want  []string
	}{
		{unix.Timespec{}, []string{"/dir/low", "/old", "/top"}},
		{unix.Timespec{Sec: 1 << 40}, nil},
	} {
		got, err := View{Lowers: w.lowers, Since: c.since}.Rewritten(paths)
		if err != nil || !slices.Equal(got, c.want) {
			t.Errorf("since %v: %q, %v", c.since, got, err)
		}
	}
}
