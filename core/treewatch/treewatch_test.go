// SPDX-License-Identifier: Apache-2.0

package treewatch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const settle = 50 * time.Millisecond

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path string) {
	t.Helper()
	must(t, os.WriteFile(path, []byte(time.Now().String()), 0o644))
}

// begin watches a tree with a file in it.
func begin(t *testing.T) (w *Watcher, tree string) {
	t.Helper()
	tree = filepath.Join(t.TempDir(), "project", "final")
	must(t, os.MkdirAll(filepath.Join(tree, "sub"), 0o755))
	write(t, filepath.Join(tree, "sub", "file"))
	w = New([]string{tree}, func(line string) { t.Error(line) })
	t.Cleanup(w.Close)
	return w, tree
}

// next wants one burst with all that is watched, and then quiet.
func next(t *testing.T, w *Watcher, what string) Burst {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	b, err := w.Next(ctx, settle, nil)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if len(b.Paths) != 1 || b.Paths[0] != w.roots[0].path || time.Since(b.Last) < settle {
		t.Errorf("%s: %+v", what, b)
	}
	quiet(t, w, what)
	return b
}

func quiet(t *testing.T, w *Watcher, what string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*settle)
	defer cancel()
	if b, err := w.Next(ctx, settle, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("after %s: %+v, %v", what, b, err)
	}
}

func TestChanges(t *testing.T) {
	w, tree := begin(t)
	in := func(name string) string { return filepath.Join(tree, name) }
	quiet(t, w, "nothing")
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"a write", func() error { return os.WriteFile(in("sub/file"), []byte("new"), 0o644) }},
		{"a mode", func() error { return os.Chmod(in("sub/file"), 0o700) }},
		{"a new directory", func() error { return os.MkdirAll(in("a/b/c"), 0o755) }},
		{"a file in it", func() error { return os.WriteFile(in("a/b/c/file"), nil, 0o644) }},
		{"a renamed directory", func() error { return os.Rename(in("a"), in("z")) }},
		{"a directory in a renamed one", func() error { return os.Mkdir(in("z/b/new"), 0o755) }},
		{"a file in that", func() error { return os.WriteFile(in("z/b/new/file"), nil, 0o644) }},
		{"a file gone", func() error { return os.Remove(in("z/b/c/file")) }},
		{"all gone but one", func() error { return os.RemoveAll(in("z")) }},
	} {
		must(t, step.do())
		next(t, w, step.what)
	}
	write(t, filepath.Join(filepath.Dir(tree), "beside"))
	quiet(t, w, "a file beside the tree")
}

func TestLinksAreNotFollowed(t *testing.T) {
	w, tree := begin(t)
	outside := t.TempDir()
	must(t, os.Symlink(outside, filepath.Join(tree, "link")))
	next(t, w, "a link")
	write(t, filepath.Join(outside, "file"))
	quiet(t, w, "a change behind a link")
}

// TestMadeAnew: a tree that is deleted is waited for, also when what it is in went with it.
func TestMadeAnew(t *testing.T) {
	for _, gone := range []string{"", ".."} {
		w, tree := begin(t)
		must(t, os.RemoveAll(filepath.Join(tree, gone)))
		quiet(t, w, "its end")
		must(t, os.MkdirAll(filepath.Join(tree, "new"), 0o755))
		next(t, w, "the new tree")
		write(t, filepath.Join(tree, "new", "file"))
		next(t, w, "a file in the new tree")
	}
}

// TestMoved: a directory further above has another name now, which the kernel does not tell.
func TestMoved(t *testing.T) {
	w, tree := begin(t)
	top := filepath.Dir(filepath.Dir(tree))
	must(t, os.Rename(top, top+".old"))
	must(t, os.MkdirAll(filepath.Join(tree, "new"), 0o755))
	next(t, w, "another tree in its place")
	write(t, filepath.Join(tree, "new", "file"))
	next(t, w, "a file in it")
	must(t, os.RemoveAll(top+".old"))
}

// TestImage: a file, written to and replaced.
func TestImage(t *testing.T) {
	image := filepath.Join(t.TempDir(), "image")
	write(t, image)
	w := New([]string{image}, func(line string) { t.Error(line) })
	defer w.Close()
	write(t, image)
	next(t, w, "a write")
	for range 2 {
		write(t, image+".new")
		quiet(t, w, "another file")
		must(t, os.Rename(image+".new", image))
		next(t, w, "another file in its place")
	}
}

// TestOverflow: a build of 20 000 files while nobody looks is one burst, and all of it is watched afterwards.
func TestOverflow(t *testing.T) {
	w, tree := begin(t)
	last := ""
	for i := range 200 {
		last = filepath.Join(tree, fmt.Sprint("d", i), "below")
		must(t, os.MkdirAll(last, 0o755))
		for j := range 100 {
			must(t, os.WriteFile(filepath.Join(last, fmt.Sprint(j)), []byte("x"), 0o644))
		}
	}
	next(t, w, "the build")
	must(t, os.Remove(filepath.Join(last, "7")))
	next(t, w, "a file removed")
}

// TestNoWatches: the limit is reached, at once or on the way; then the trees are looked through.
func TestNoWatches(t *testing.T) {
	for _, limit := range []int{0, 4} {
		w, tree := begin(t)
		var told []string
		w.Notice = func(line string) { told = append(told, line) }
		real, left := w.add, limit
		w.add = func(path string) error {
			if left--; left < 0 {
				return unix.ENOSPC
			}
			return real(path)
		}
		for i := range 10 {
			must(t, os.MkdirAll(filepath.Join(tree, "new", fmt.Sprint(i)), 0o755))
		}
		next(t, w, "new directories")
		if len(told) != 1 || !strings.Contains(told[0], "fs.inotify.max_user_watches") {
			t.Errorf("told %q", told)
		}
		write(t, filepath.Join(tree, "new", "9", "file"))
		next(t, w, "a file, found by looking")
		must(t, os.RemoveAll(tree))
		quiet(t, w, "its end")
		must(t, os.Mkdir(tree, 0o755))
		next(t, w, "a new tree")
	}
}

// TestSeveral: only those that changed are told; a nested one with the one around it.
func TestSeveral(t *testing.T) {
	base := t.TempDir()
	paths := []string{filepath.Join(base, "a"), filepath.Join(base, "a", "inner"), filepath.Join(base, "b")}
	for _, path := range paths {
		must(t, os.MkdirAll(path, 0o755))
	}
	w := New(paths, func(line string) { t.Error(line) })
	defer w.Close()
	for _, c := range []struct {
		file string
		want []string
	}{{"a/file", paths[:1]}, {"b/file", paths[2:]}, {"a/inner/file", paths[:2]}} {
		write(t, filepath.Join(base, c.file))
		b, err := w.Next(context.Background(), settle, nil)
		if err != nil || !slices.Equal(b.Paths, c.want) {
			t.Errorf("%s: %v, %v", c.file, b.Paths, err)
		}
	}
}

// TestAlive: who asks is asked, and can end it.
func TestAlive(t *testing.T) {
	w, _ := begin(t)
	over := errors.New("over")
	if _, err := w.Next(context.Background(), settle, func() error { return over }); !errors.Is(err, over) {
		t.Errorf("got %v", err)
	}
}
