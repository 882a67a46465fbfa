// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestCheckOfWhatIsCached: what a check finds that asks only for names in the cache is
// what one finds that looks all of them up, whatever was changed and whoever holds what.
func TestCheckOfWhatIsCached(t *testing.T) {
	rounds := 150
	if testing.Short() {
		rounds = 20
	}
	stale, skipped := 0, 0
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		w := newWorld(t, 1+r.IntN(2))
		any := func() string { // a path of three levels, of a few names
			path := ""
			for range 1 + r.IntN(3) {
				path = filepath.Join(path, fmt.Sprint("n", r.IntN(4)))
			}
			return path
		}
		build := func(top string) {
			path := filepath.Join(top, any())
			switch r.IntN(7) {
			case 0:
				_ = os.RemoveAll(path)
			case 1:
				_ = os.Rename(path, filepath.Join(top, any()))
			case 2:
				_ = os.Link(path, filepath.Join(top, any()))
			case 3: // as builds do: all anew under the same name
				_ = os.RemoveAll(path)
				fallthrough
			default:
				_ = os.MkdirAll(filepath.Dir(path), 0o755)
				_ = os.WriteFile(path+".new", []byte(fmt.Sprint(r.Uint64())), 0o644)
				_ = os.Rename(path+".new", path)
			}
		}
		for range 60 {
			build(w.lowers[r.IntN(len(w.lowers))])
		}
		w.mount(t)
		for range r.IntN(4) {
			build(w.union)
		}
		var held []*os.File
		for range r.IntN(8) {
			if f, err := os.Open(filepath.Join(w.union, any())); err == nil {
				held = append(held, f)
			}
		}
		for range r.IntN(12) {
			build(w.lowers[r.IntN(len(w.lowers))])
		}
		must(t, unix.Mount("overlay", w.union, "overlay", unix.MS_REMOUNT, "")) // forgets what nobody uses
		check := func(thorough bool) Freshness {
			f, err := View{Union: w.union, RW: w.rw, Lowers: w.lowers}.check(context.Background(), thorough)
			must(t, err)
			return f
		}
		quick := check(false)
		names := cachedNames(w)
		full := check(true)
		if names < cachedNames(w) {
			skipped++
		}
		stale += len(full.Stale)
		if quick.Changed != full.Changed || !slices.Equal(quick.Stale, full.Stale) || !slices.Equal(quick.Shadowed, full.Shadowed) {
			t.Fatalf("seed %d: of what is cached %+v, of all %+v", seed, quick, full)
		}
		for _, f := range held {
			f.Close()
		}
		w.unmount()
	}
	if stale == 0 || skipped == 0 {
		t.Errorf("%d stale paths in all rounds, %d rounds in which names were left out: nothing was tested", stale, skipped)
	}
}

// cachedNames counts the names that the kernel has of a union.
func cachedNames(w *world) int {
	union, err := OpenLayers(w.union)
	if err != nil {
		return 0
	}
	defer union.Close()
	return cachedBelow(w.lowers, "", union.layers[0].fd)
}

func cachedBelow(lowers []string, path string, union int) (count int) {
	for i, lower := range lowers {
		entries, _ := os.ReadDir(filepath.Join(lower, path))
		for _, e := range entries {
			if i > 0 {
				if _, err := os.Lstat(filepath.Join(lowers[0], path, e.Name())); err == nil {
					continue
				}
			}
			n, err := cachedAt(union, e.Name())
			if err != nil || n == nil {
				continue
			}
			count++
			if n.IsDir() {
				if dir, err := openLayer(union, e.Name()); err == nil {
					count += cachedBelow(lowers, filepath.Join(path, e.Name()), dir.fd)
					dir.close()
				}
			}
		}
	}
	return count
}

// BenchmarkCheck is of 20 000 files of which nobody holds any.
func BenchmarkCheck(b *testing.B) {
	base := b.TempDir()
	if err := unix.Mount("rwlayer", base, "tmpfs", 0, ""); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = unix.Unmount(base, unix.MNT_DETACH) })
	w := &world{rw: base + "/rw", union: base + "/union", lowers: []string{base + "/lower"}}
	for _, dir := range []string{w.rw, w.union, base + "/work", w.lowers[0]} {
		_ = os.Mkdir(dir, 0o755)
	}
	for i := range 200 {
		dir := fmt.Sprintf("%s/%d/%d", w.lowers[0], i/10, i)
		_ = os.MkdirAll(dir, 0o755)
		for j := range 100 {
			_ = os.WriteFile(fmt.Sprintf("%s/%d", dir, j), nil, 0o644)
		}
	}
	if err := unix.Mount("overlay", w.union, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s/work,xino=off", w.lowers[0], w.rw, base)); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(w.unmount)
	for _, thorough := range []bool{true, false} {
		b.Run(fmt.Sprint("thorough=", thorough), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				if err := unix.Mount("overlay", w.union, "overlay", unix.MS_REMOUNT, ""); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if f, err := (View{Union: w.union, RW: w.rw, Lowers: w.lowers}).check(context.Background(), thorough); err != nil || f.Changed != 20000 {
					b.Fatal(f.Changed, err)
				}
			}
		})
	}
}
