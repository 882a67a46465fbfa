// SPDX-License-Identifier: Apache-2.0

package treecopy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pathObject is a file of the test's own.
type pathObject struct {
	path   string
	xattrs map[string]string
}

func (o pathObject) Open() (*os.File, error)            { return os.Open(o.path) }
func (o pathObject) Readlink() (string, error)          { return os.Readlink(o.path) }
func (o pathObject) Xattrs() (map[string]string, error) { return o.xattrs, nil }

func (o pathObject) stat(t *testing.T) *unix.Stat_t {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Lstat(o.path, &st); err != nil {
		t.Fatal(err)
	}
	return &st
}

func archiveOf(t *testing.T, leave func(name, why string), names []string, objects ...pathObject) []byte {
	t.Helper()
	var out bytes.Buffer
	a := NewArchive(context.Background(), &out, time.Time{}, leave)
	for i, o := range objects {
		if err := a.Add(names[i], o.stat(t), o); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func never(t *testing.T) func(name, why string) {
	return func(name, why string) { t.Errorf("%s is left out: %s", name, why) }
}

// TestSparse: whatever holes a file has, archive/tar and GNU tar read its content, the stream is small, and one with
// zeros in place of the holes makes the same bytes.
func TestSparse(t *testing.T) {
	for round := range 40 {
		random := rand.New(rand.NewPCG(1, uint64(round)))
		dir := t.TempDir()
		sparse, dense := filepath.Join(dir, "sparse"), filepath.Join(dir, "dense")
		size := random.IntN(20 * grain)
		if round%4 == 0 {
			size -= size % grain
		}
		content := make([]byte, size)
		file, err := os.Create(sparse)
		if err != nil {
			t.Fatal(err)
		}
		if err := file.Truncate(int64(size)); err != nil {
			t.Fatal(err)
		}
		for range random.IntN(6) {
			if size == 0 {
				break
			}
			at := random.IntN(size)
			part := bytes.Repeat([]byte{byte(random.IntN(3))}, random.IntN(min(size-at, 3*grain))+1)
			copy(content[at:], part)
			if _, err := file.WriteAt(part, int64(at)); err != nil {
				t.Fatal(err)
			}
		}
		file.Close()
		if err := os.WriteFile(dense, content, 0o644); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Stat(sparse, &st); err != nil {
			t.Fatal(err)
		}
		if err := unix.UtimesNano(dense, []unix.Timespec{st.Mtim, st.Mtim}); err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("d/", random.IntN(120)) + "file"
		xattrs := map[string]string{"user.note": "GNU-sparse.name=\nGNU-sparse.\x00" + strings.Repeat("x", random.IntN(600))}
		stream := archiveOf(t, never(t), []string{long, "b"}, pathObject{sparse, xattrs}, pathObject{dense, nil})
		if again := archiveOf(t, never(t), []string{long, "b"}, pathObject{dense, xattrs}, pathObject{sparse, nil}); !bytes.Equal(stream, again) {
			t.Fatalf("round %d: holes of the file system show in the stream", round)
		}
		reader := tar.NewReader(bytes.NewReader(stream))
		for _, name := range []string{long, "b"} {
			h, err := reader.Next()
			if err != nil || h.Name != name || h.Size != int64(size) {
				t.Fatalf("round %d: %+v, %v", round, h, err)
			}
			if name == long && h.PAXRecords[xattrPrefix+"user.note"] != xattrs["user.note"] {
				t.Fatalf("round %d: the attribute is %q", round, h.PAXRecords[xattrPrefix+"user.note"])
			}
			if got, err := io.ReadAll(reader); err != nil || !bytes.Equal(got, content) {
				t.Fatalf("round %d: other content, %v", round, err)
			}
		}
		gnu := exec.Command("tar", "-xOf", "-", "b")
		gnu.Stdin = bytes.NewReader(stream)
		if got, err := gnu.Output(); err != nil || !bytes.Equal(got, content) {
			t.Fatalf("round %d: GNU tar reads other content: %v", round, err)
		}
	}
}

func TestHugeHole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "huge")
	if err := os.WriteFile(path, []byte("begin"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 1<<40); err != nil {
		t.Fatal(err)
	}
	if stream := archiveOf(t, never(t), []string{"huge"}, pathObject{path, nil}); len(stream) > 3*grain {
		t.Errorf("%d bytes", len(stream))
	}
}

func TestArchiveLeaves(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	var left []string
	stream := archiveOf(t, func(name, why string) { left = append(left, name+": "+why) }, []string{"file"},
		pathObject{path, map[string]string{"user.a=b": "1", "user.c": "2"}})
	if len(left) != 1 || !strings.Contains(left[0], "user.a=b") || !bytes.Contains(stream, []byte("SCHILY.xattr.user.c=2\n")) {
		t.Errorf("left out: %q", left)
	}
}

// TestVanished: what is gone before it can be read leaves no trace, and is no first name of a hard link.
func TestVanished(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, path+"2"); err != nil {
		t.Fatal(err)
	}
	o := pathObject{path, nil}
	st := o.stat(t)
	var out bytes.Buffer
	a := NewArchive(context.Background(), &out, time.Time{}, never(t))
	if err := a.Add("gone", st, pathObject{path + "3", nil}); !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	for _, name := range []string{"one", "two"} {
		if err := a.Add(name, st, o); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(&out)
	one, _ := r.Next()
	two, _ := r.Next()
	if one == nil || two == nil || one.Name != "one" || one.Typeflag != tar.TypeReg || two.Linkname != "one" {
		t.Errorf("%+v, %+v", one, two)
	}
}
