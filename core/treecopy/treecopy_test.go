// SPDX-License-Identifier: Apache-2.0

package treecopy

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func open(t testing.TB, dir string) *os.File {
	t.Helper()
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

// stream is a tar of these entries; a regular one holds its own name.
func stream(t testing.TB, entries ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range entries {
		h.Mode, h.Uid, h.Gid = 0o644, os.Getuid(), os.Getgid()
		if h.Typeflag == tar.TypeReg {
			h.Size = int64(len(h.Name))
		}
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if _, err := w.Write([]byte(h.Name)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unpack(t testing.TB, dir string, data []byte) (left []string, err error) {
	t.Helper()
	err = Unpack(context.Background(), bytes.NewReader(data), Below(open(t, dir)), ".",
		func(name, _ string) { left = append(left, name) })
	return left, err
}

func TestSplit(t *testing.T) {
	for path, want := range map[string][2]string{
		"/a/b": {"/a/.", "b"}, "/a/b/": {"/a/.", "b"}, "a": {".", "a"}, "/": {"/", "."}, "/a/.": {"/a/.", "."}, "/a/..": {"/a/..", "."},
	} {
		if dir, base := Split(path); dir != want[0] || base != want[1] {
			t.Errorf("%q: %q %q", path, dir, base)
		}
	}
}

// Streams that try to leave the directory fail, and nothing outside changes.
func TestUnpackStaysBelow(t *testing.T) {
	file := func(name string) tar.Header { return tar.Header{Typeflag: tar.TypeReg, Name: name} }
	for name, entries := range map[string][]tar.Header{
		"dots":       {file("../out")},
		"inner dots": {file("a/../../out")},
		"absolute":   {file("/out")},
		"a link":     {{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, file("l/out")},
		"hard link":  {{Typeflag: tar.TypeLink, Name: "l", Linkname: "../kept"}},
		"link to a directory above": {
			{Typeflag: tar.TypeSymlink, Name: "d", Linkname: ".."}, {Typeflag: tar.TypeDir, Name: "d/"},
		},
	} {
		outer := t.TempDir()
		dir := filepath.Join(outer, "dir")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(outer, "kept"), []byte("kept"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := unpack(t, dir, stream(t, entries...)); err == nil {
			t.Errorf("%s: no error", name)
		}
		if found, _ := os.ReadDir(outer); len(found) != 2 {
			t.Errorf("%s: made %v", name, found)
		}
	}
}

func TestUnpackReplacesFilesNotDirectories(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(secret, filepath.Join(dir, "f")); err != nil {
		t.Fatal(err)
	}
	left, err := unpack(t, dir, stream(t, tar.Header{Typeflag: tar.TypeReg, Name: "f"},
		tar.Header{Typeflag: tar.TypeLink, Name: "g", Linkname: "f"}, tar.Header{Typeflag: tar.TypeLink, Name: "g", Linkname: "f"},
		tar.Header{Typeflag: tar.TypeChar, Name: "null", Devmajor: 1, Devminor: 3}))
	if err != nil || len(left) != 1 || left[0] != "null" {
		t.Errorf("%v %v", left, err)
	}
	if text, _ := os.ReadFile(secret); string(text) != "secret" {
		t.Error("written through a link")
	}
	if names, _ := filepath.Glob(filepath.Join(dir, ".*")); len(names) != 0 {
		t.Errorf("temporary files are left: %q", names)
	}
	if err := os.Mkdir(filepath.Join(dir, "d"), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := unpack(t, dir, stream(t, tar.Header{Typeflag: tar.TypeReg, Name: "d"})); err == nil || !strings.Contains(err.Error(), "in the file's place") {
		t.Error(err)
	}
}

// Whatever a stream holds, nothing is made outside of the directory.
func FuzzUnpack(f *testing.F) {
	f.Add(stream(f, tar.Header{Typeflag: tar.TypeReg, Name: "a"}))
	f.Add(stream(f, tar.Header{Typeflag: tar.TypeReg, Name: "../a"}))
	f.Add(stream(f, tar.Header{Typeflag: tar.TypeSymlink, Name: "l", Linkname: ".."}, tar.Header{Typeflag: tar.TypeReg, Name: "l/a"}))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "dir")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		_, _ = unpack(t, dir, data)
		if found, _ := os.ReadDir(outer); len(found) != 1 {
			t.Errorf("made %v", found)
		}
	})
}
