// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/mount"
	"firmwared/core/registry"
	"firmwared/core/word"
)

var objectID = word.Form{First: "0-9a-f", Rest: "0-9a-f", Min: 12, Max: 12}

// ids lists the objects that have an entry in one of the directories.
func ids(dirs ...string) []string {
	var all []string
	for _, dir := range dirs {
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			if objectID.MatchString(entry.Name()) {
				all = append(all, entry.Name())
			}
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// lowers finds those that nobody uses and that need not stay warm, and the
// directories of those that an earlier boot had.
func (g *gc) lowers() (found []Garbage) {
	for _, l := range g.allLowers() {
		if reason := g.useless(l); reason != "" {
			found = append(found, Garbage{
				Kind: "lower", Name: l.Firmware + "." + l.Generation, Path: g.lowerPoint(l), Reason: reason, lock: "f-" + l.Firmware,
				still: func() bool { return g.useless(l) != "" },
				clear: func(ctx context.Context) error { return g.removeLower(ctx, l) },
			})
		}
	}
	return found
}

// allLowers lists what has a mount point or a run-time directory.
func (g *gc) allLowers() (all []lower) {
	for _, id := range ids(filepath.Join(g.at.base, "lowers")) {
		points, _ := os.ReadDir(filepath.Join(g.at.base, "lowers", id))
		for _, point := range points {
			all = append(all, lower{Firmware: id, Generation: point.Name()})
		}
	}
	dirs, _ := os.ReadDir(filepath.Join(g.at.runBase, "lowers"))
	for _, dir := range dirs {
		id, generation, _ := strings.Cut(dir.Name(), ".")
		if l := (lower{Firmware: id, Generation: generation}); objectID.MatchString(id) && !slices.Contains(all, l) {
			all = append(all, l)
		}
	}
	return all
}

// useless says why a lower can go, or "".
func (g *gc) useless(l lower) string {
	fw, err := g.store.Firmwares.Load(l.Firmware)
	if isBroken(err) || len(g.standingOn(l)) > 0 {
		return ""
	}
	known := registry.ReadRuntime(g.lowerFile(l), &l)
	switch {
	case !known && mount.Free(g.lowerPoint(l)):
		return "nothing is mounted there since an earlier boot"
	case !known: // nobody knows which hook mounted it
		return ""
	case err != nil:
		return "its firmware is gone"
	case !g.isMounted(l):
		return "it was half mounted"
	case !g.isNewest(fw, l):
		return "no instance stands on this old generation"
	case g.Unused:
		return "no instance stands on it"
	}
	return ""
}

// standingOn lists the instances that are users of a lower in truth: with a union
// on it, or with a command at work.
func (g *gc) standingOn(l lower) (users []string) {
	entries, _ := os.ReadDir(g.lowerUsers(l))
	for _, entry := range entries {
		id := entry.Name()
		u, _ := g.readUnion(id)
		if u.on(l) || g.store.Locked("i-"+id) {
			users = append(users, id)
		}
	}
	return users
}

// isNewest tells whether a lower is its firmware's newest generation. An image
// that was touched is not hashed, which would write the record: it counts.
func (g *gc) isNewest(fw *registry.Firmware, l lower) bool {
	if info, err := os.Stat(fw.Path); err == nil && fw.Image && statOf(info) != *fw.Stat {
		return true
	}
	newest, err := g.generation(context.Background(), fw)
	return err != nil || newest == l.Generation
}

// removeLower takes a useless lower away. The caller holds its firmware.
func (g *gc) removeLower(ctx context.Context, l lower) error {
	entries, _ := os.ReadDir(g.lowerUsers(l))
	for _, entry := range entries {
		if err := os.Remove(filepath.Join(g.lowerUsers(l), entry.Name())); err != nil {
			return err
		}
	}
	if !registry.ReadRuntime(g.lowerFile(l), &l) {
		return g.forgetLower(l)
	}
	fw, err := g.store.Firmwares.Load(l.Firmware)
	if err != nil {
		fw = &registry.Firmware{ID: l.Firmware, Name: l.Firmware, Path: "/"} // a hook's unmount needs none
	}
	return g.unmountLower(ctx, fw, l, reasonRecover)
}

// images finds copies of images that no firmware has.
func (g *gc) images() (found []Garbage) {
	entries, _ := os.ReadDir(g.Manager.images())
	for _, entry := range entries {
		name, path := entry.Name(), filepath.Join(g.Manager.images(), entry.Name())
		it := Garbage{Kind: "image", Path: path, Reason: "no firmware has this copy", clear: func(context.Context) error { return mount.RemoveAll(path) }}
		if strings.HasPrefix(name, ".copy-") {
			it.still = func() bool { return !g.store.Marked("image."+name, nil) }
		} else if objectID.MatchString(name) {
			it.lock = "f-" + name
			it.still = func() bool {
				fw, err := g.store.Firmwares.Load(name)
				return !isBroken(err) && (err != nil || !fw.Copied || fw.Path != path)
			}
		}
		if it.still != nil && it.still() {
			found = append(found, it)
		}
	}
	return found
}

// copies finds rw layers that were to come or to go when a command died, and that
// no mark tells of any more.
func (g *gc) copies() (found []Garbage) {
	for _, id := range ids(filepath.Dir(g.at.workspace("x"))) {
		for _, path := range g.copiesOf(id) {
			found = append(found, Garbage{
				Kind: "layer", Path: path, Reason: "a command that worked on it died", lock: "i-" + id,
				still: func() bool { _, err := os.Lstat(path); return err == nil },
				clear: func(context.Context) error { return mount.RemoveAll(path) },
			})
		}
	}
	return found
}

// settled is the age of a file that nobody is about to rename any more.
const settled = time.Minute

// temporary finds files that were to be renamed when their writer died. Those of
// an object are written under its lock; others must be old.
func (g *gc) temporary() (found []Garbage) {
	for _, place := range []struct{ pattern, lock string }{
		{filepath.Join(g.at.state, "firmwares", ".*.json.tmp*"), "f-"},
		{filepath.Join(g.at.state, "instances", ".*.json.tmp*"), "i-"},
		{filepath.Join(g.at.run, "instances", "*", ".*.json.tmp*"), "i-"},
		{filepath.Join(g.at.run, "lowers", "*", ".*.json.tmp*"), "f-"},
		{filepath.Join(g.at.run, "describe", ".*.json.*"), ""},
		{filepath.Join(g.at.state, ".mounts.json.tmp*"), ""},
	} {
		paths, _ := filepath.Glob(place.pattern)
		for _, path := range paths {
			it := Garbage{Kind: "file", Path: path, Reason: "its writer died", clear: func(context.Context) error { return os.Remove(path) }}
			if place.lock != "" {
				it.lock = place.lock + objectOf(path)
			}
			it.still = func() bool {
				var st unix.Stat_t
				if unix.Lstat(path, &st) != nil {
					return false
				}
				age := time.Since(time.Unix(st.Mtim.Unix()))
				return place.lock != "" || age > settled || age < -settled // the clock may have jumped
			}
			if it.still() {
				found = append(found, it)
			}
		}
	}
	return found
}

// objectOf finds the id in the path of a temporary file: in its own name, or in
// its directory's.
func objectOf(path string) string {
	own, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), "."), ".")
	if objectID.MatchString(own) {
		return own
	}
	of, _, _ := strings.Cut(filepath.Base(filepath.Dir(path)), ".")
	return of
}

// recoverImage removes a copy whose maker died, and one that it had given to a
// firmware that was never registered.
func (m *Manager) recoverImage(name string) error {
	if err := mount.RemoveAll(filepath.Join(m.images(), name)); err != nil {
		return err
	}
	return m.removeStrayImages()
}

func (m *Manager) removeStrayImages() error {
	g := &gc{Manager: m}
	for _, it := range g.images() {
		if _, err := g.remove(context.Background(), it); err != nil {
			return err
		}
	}
	return nil
}
