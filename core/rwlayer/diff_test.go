// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var rounds = flag.Int("rounds", 150, "how many random histories TestDiffIsTheTruth plays")

// world is an overlay of some lowers, mounted.
type world struct {
	lowers    []string // top first
	rw, union string
}

// newWorld mounts a tmpfs for the layers: it can be an upper, and keeps trusted attributes.
func newWorld(t *testing.T, lowers int) *world {
	t.Helper()
	base := t.TempDir()
	if err := unix.Mount("rwlayer", base, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(base, unix.MNT_DETACH) })
	w := &world{rw: filepath.Join(base, "rw"), union: filepath.Join(base, "union")}
	for i := range lowers {
		w.lowers = append(w.lowers, filepath.Join(base, fmt.Sprint("lower", i)))
	}
	for _, dir := range append([]string{w.rw, w.union, filepath.Join(base, "work")}, w.lowers...) {
		must(t, os.Mkdir(dir, 0o755))
	}
	return w
}

func (w *world) mount(t *testing.T) {
	t.Helper()
	options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,redirect_dir=off,metacopy=off,index=off,xino=off",
		strings.Join(w.lowers, ":"), w.rw, filepath.Join(filepath.Dir(w.rw), "work"))
	must(t, unix.Mount("overlay", w.union, "overlay", 0, options))
	t.Cleanup(w.unmount)
}

func (w *world) unmount() { _ = unix.Unmount(w.union, unix.MNT_DETACH) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// picture is all of a tree, path by path, as Diff judges it.
func picture(t *testing.T, root string) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		p := map[string]string{
			KindType: fmt.Sprintf("%o", st.Mode&unix.S_IFMT), KindMode: fmt.Sprintf("%o", st.Mode),
			KindOwner: fmt.Sprint(st.Uid, st.Gid), KindXattr: xattrsOf(path),
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			p[KindContent] = fmt.Sprintf("%x", sha256.Sum256(data))
		case unix.S_IFLNK:
			p[KindContent], _ = os.Readlink(path)
		case unix.S_IFCHR, unix.S_IFBLK:
			p[KindContent] = fmt.Sprint(st.Rdev)
		}
		all["/"+strings.TrimPrefix(strings.TrimPrefix(path, root), "/")] = p
		return nil
	}))
	return all
}

func xattrsOf(path string) string {
	list := make([]byte, 4096)
	n, _ := unix.Llistxattr(path, list)
	names := strings.Split(strings.TrimRight(string(list[:max(n, 0)]), "\x00"), "\x00")
	slices.Sort(names)
	var out []string
	for _, name := range names {
		value := make([]byte, 4096)
		if n, err := unix.Lgetxattr(path, name, value); err == nil {
			out = append(out, name+"="+string(value[:n]))
		}
	}
	return strings.Join(out, "\n")
}

// naive is what Diff must say, found by looking at everything.
func naive(before, after map[string]map[string]string) []string {
	var out []string
	for path, b := range before {
		a, ok := after[path]
		switch {
		case !ok:
			out = append(out, Deleted+" "+path)
		case b[KindType] != a[KindType]:
			out = append(out, Changed+" "+path+" "+KindType)
		default:
			var kinds []string
			for _, kind := range []string{KindContent, KindMode, KindOwner, KindXattr} {
				if a[kind] != b[kind] {
					kinds = append(kinds, kind)
				}
			}
			if len(kinds) > 0 {
				out = append(out, Changed+" "+path+" "+strings.Join(kinds, ","))
			}
		}
	}
	for path := range after {
		if before[path] == nil {
			out = append(out, Added+" "+path)
		}
	}
	slices.Sort(out)
	return out
}

func (w *world) diff(t *testing.T) []string {
	t.Helper()
	var out []string
	seen := map[string]bool{}
	err := Diff(context.Background(), w.rw, w.lowers, func(c Change) error {
		line := c.What + " " + c.Path
		if c.What == Changed {
			line += " " + strings.Join(c.Kinds, ",")
		}
		if seen[c.Path] {
			t.Errorf("%s is told twice", c.Path)
		}
		if seen[c.Path+"/"] {
			t.Errorf("%s comes after what is in it", line)
		}
		seen[c.Path], seen[filepath.Dir(c.Path)+"/"] = true, c.Path != "/"
		if (c.Before == nil) != (c.What == Added) || (c.After == nil) != (c.What == Deleted) {
			t.Errorf("%s: before %v, after %v", line, c.Before, c.After)
		}
		out = append(out, line)
		return nil
	})
	must(t, err)
	slices.Sort(out)
	return out
}

// player makes a random history in a tree.
type player struct {
	*rand.Rand
	root string
}

func (p *player) path() string {
	path := p.root
	for range 1 + p.IntN(3) {
		path = filepath.Join(path, string(rune('a'+p.IntN(4))))
	}
	return path
}

// existing is a path of the tree, if the tree has one for this throw.
func (p *player) existing() string {
	for range 8 {
		path := p.path()
		if _, err := os.Lstat(path); err == nil {
			return path
		}
	}
	return p.root
}

// step does something, or fails to: most calls meet something else than they want.
func (p *player) step() {
	content := []byte(strings.Repeat(string(rune('0'+p.IntN(3))), p.IntN(3)*50))
	switch path := p.path(); p.IntN(17) {
	case 0, 1, 2:
		if file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC|unix.O_NONBLOCK, 0o644); err == nil {
			_, _ = file.Write(content)
			file.Close()
		}
	case 3, 4, 5:
		_ = os.MkdirAll(path, 0o755)
	case 6:
		_ = os.Symlink(string(content), path)
	case 7:
		_ = unix.Mknod(path, unix.S_IFIFO|0o600, 0)
	case 8:
		_ = unix.Mknod(path, unix.S_IFCHR|0o600, int(unix.Mkdev(1, uint32(3+p.IntN(3)))))
	case 9:
		if path := p.existing(); path != p.root {
			_ = os.RemoveAll(path)
		}
	case 10:
		if path := p.existing(); path != p.root {
			_ = os.RemoveAll(path)
			_ = os.Mkdir(path, 0o755)
		}
	case 11:
		_ = os.Chmod(p.existing(), os.FileMode(0o600+p.IntN(64)))
	case 12:
		_ = os.Lchown(p.existing(), p.IntN(2), p.IntN(2))
	case 13:
		_ = unix.Lsetxattr(p.existing(), "user.a", []byte{byte('0' + p.IntN(2))}, 0)
		_ = unix.Lsetxattr(p.existing(), "trusted.a", []byte{byte('0' + p.IntN(2))}, 0)
	case 14:
		_ = os.Rename(p.existing(), path)
	case 15:
		_ = os.Link(p.existing(), path)
	case 16: // copied up, and equal
		if file, err := os.OpenFile(p.existing(), os.O_RDWR|unix.O_NONBLOCK, 0); err == nil {
			file.Close()
		}
	}
}

// TestDiffIsTheTruth compares Diff with a look at everything, after random histories in the lowers and in the union.
// Lowers are themselves made as rw layers, whiteouts and all, as a commit of a commit is.
func TestDiffIsTheTruth(t *testing.T) {
	seed := rand.Uint64()
	for round := range *rounds {
		t.Run(fmt.Sprint(seed, "-", round), func(t *testing.T) {
			p := &player{Rand: rand.New(rand.NewPCG(seed, uint64(round)))}
			layers := 1 + p.IntN(3)
			w := newWorld(t, layers)
			for i := layers - 1; i >= 0; i-- {
				p.history(t, w, w.lowers[i], w.lowers[i+1:], 25)
			}
			must(t, dress(w.rw, w.lowers[0]))
			w.mount(t)
			before := picture(t, w.union)
			p.root = w.union
			for range 1 + p.IntN(30) {
				p.step()
			}
			after := picture(t, w.union)
			if got, want := w.diff(t), naive(before, after); !slices.Equal(got, want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			w.unmount()
			w.compareMerged(t, after)
		})
	}
}

// history fills a layer, through an overlay if there are others below it.
func (p *player) history(t *testing.T, w *world, layer string, below []string, steps int) {
	t.Helper()
	p.root = layer
	if len(below) > 0 {
		under := &world{lowers: below, rw: layer, union: w.union}
		work := filepath.Join(filepath.Dir(w.rw), "work")
		must(t, os.RemoveAll(work))
		must(t, os.Mkdir(work, 0o755))
		under.mount(t)
		defer under.unmount()
		p.root = under.union
	}
	for range steps {
		p.step()
	}
}

// compareMerged reads the merged tree without an overlay, and compares.
func (w *world) compareMerged(t *testing.T, want map[string]map[string]string) {
	t.Helper()
	d, err := OpenLayers(append([]string{w.rw}, w.lowers...)...)
	must(t, err)
	defer d.Close()
	got := map[string]string{"/": want["/"][KindMode]}
	var walk func(path string, d *Dir)
	walk = func(path string, d *Dir) {
		names, err := d.Names()
		must(t, err)
		for _, name := range names {
			n, sub, err := d.Lookup(name)
			must(t, err)
			got[path+name] = fmt.Sprintf("%o", n.Stat.Mode)
			if sub != nil {
				walk(path+name+"/", sub)
				sub.Close()
			}
		}
	}
	walk("/", d)
	modes := map[string]string{}
	for path, p := range want {
		modes[path] = p[KindMode]
	}
	if !maps.Equal(got, modes) {
		t.Errorf("merged: got %v, want %v", got, modes)
	}
}

func TestDiffRefusesForeignLayers(t *testing.T) {
	w := newWorld(t, 1)
	must(t, os.Mkdir(filepath.Join(w.rw, "d"), 0o755))
	must(t, unix.Setxattr(filepath.Join(w.rw, "d"), overlayRedirect, []byte("/e"), 0))
	err := Diff(context.Background(), w.rw, w.lowers, func(Change) error { return nil })
	if !errors.Is(err, errForeign) {
		t.Errorf("got %v", err)
	}
}

// TestDiffOfHostileLayers: links, pipes and depth neither lead out nor hang nor use up the descriptors.
func TestDiffOfHostileLayers(t *testing.T) {
	w := newWorld(t, 1)
	must(t, os.WriteFile(filepath.Join(w.lowers[0], "file"), []byte("x"), 0o644))
	must(t, os.Mkdir(filepath.Join(w.lowers[0], "dir"), 0o755))
	must(t, os.Symlink("/etc", filepath.Join(w.rw, "dir")))
	must(t, unix.Mkfifo(filepath.Join(w.rw, "file"), 0o644))
	must(t, os.WriteFile(filepath.Join(w.rw, "new\nline\x1b"), nil, 0o644))
	got := w.diff(t)
	want := []string{"added /new\nline\x1b", "changed /dir type", "changed /file type"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}

	dir, err := unix.Open(w.rw, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	for range deepest + 10 {
		must(t, unix.Mkdirat(dir, "d", 0o755))
		next, err := unix.Openat(dir, "d", unix.O_PATH|unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(dir)
		dir = next
	}
	unix.Close(dir)
	err = Diff(context.Background(), w.rw, w.lowers, func(Change) error { return nil })
	if err == nil || !strings.Contains(err.Error(), "deeper than any path") || len(err.Error()) > 300 {
		t.Errorf("got %v", err)
	}
}
