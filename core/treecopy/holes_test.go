// SPDX-License-Identifier: Apache-2.0

package treecopy

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// TestHolesAreKept: a file with holes keeps them and takes no more room; one of zeros
// without holes stays as it is.
func TestHolesAreKept(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "from"), filepath.Join(dir, "to")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(from, 0o755))
	must(os.Mkdir(to, 0o755))
	const size = 300<<20 + 5
	for _, parts := range []map[string]int64{
		{"middle": 100<<20 + 3}, {"front": 0}, {"end": size - 4}, {"hole": -1},
	} {
		for name, at := range parts {
			file, err := os.Create(filepath.Join(from, name))
			must(err)
			must(file.Truncate(size))
			if at >= 0 {
				_, err = file.WriteAt([]byte("data"), at)
				must(err)
			}
			must(file.Chmod(0o640))
			must(file.Close())
		}
	}
	must(os.WriteFile(filepath.Join(from, "zeros"), make([]byte, 4*grain), 0o644))
	must(os.WriteFile(filepath.Join(from, "dense"), bytes.Repeat([]byte("x"), 3*grain+1), 0o644))
	var packed bytes.Buffer
	leave := func(name, why string) { t.Errorf("left %s: %s", name, why) }
	must(Pack(context.Background(), &packed, Below(open(t, from)), ".", ".", leave))
	if packed.Len() > 20*grain {
		t.Errorf("the stream has %d bytes", packed.Len())
	}
	must(Unpack(context.Background(), &packed, Below(open(t, to)), ".", leave))
	for _, name := range []string{"middle", "front", "end", "hole", "zeros", "dense"} {
		var before, after unix.Stat_t
		must(unix.Stat(filepath.Join(from, name), &before))
		must(unix.Stat(filepath.Join(to, name), &after))
		if before.Size != after.Size || before.Mode != after.Mode || before.Mtim != after.Mtim {
			t.Errorf("%s: size %d, mode %o instead of %d, %o", name, after.Size, after.Mode, before.Size, before.Mode)
		}
		if more := (after.Blocks - before.Blocks) * statBlock; more > 2*grain || name == "zeros" && after.Blocks < before.Blocks {
			t.Errorf("%s: takes %d blocks, and took %d", name, after.Blocks, before.Blocks)
		}
		if a, b := content(t, filepath.Join(from, name)), content(t, filepath.Join(to, name)); !bytes.Equal(a, b) {
			t.Errorf("%s: another content", name)
		}
	}
}

// content is what is not zero of a file, and where.
func content(t *testing.T, path string) (all []byte) {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, _ := file.Stat()
	runs, err := dataRuns(context.Background(), file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		part := make([]byte, r.size)
		if _, err := file.ReadAt(part, r.at); err != nil {
			t.Fatal(err)
		}
		all = append(append(all, []byte{byte(r.at >> 32), byte(r.at >> 24), byte(r.at >> 16), byte(r.at >> 8), byte(r.at)}...), part...)
	}
	return all
}
