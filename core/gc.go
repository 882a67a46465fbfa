// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"firmwared/core/registry"
)

// GCOptions are what `gc` takes.
type GCOptions struct {
	DryRun bool // only say what would go
	Unused bool // also lowers that are the newest of their firmware, and all broken downloads
}

// Garbage is one thing that gc takes away; the names in JSON are promised.
type Garbage struct {
	Kind    string `json:"kind"`
	Name    string `json:"name"` // "" where the path says it all
	Path    string `json:"path"`
	Reason  string `json:"reason"`
	Removed bool   `json:"removed"`

	lock  string // of its object: held while it is looked at again and cleared; "" needs none
	still func() bool
	clear func(context.Context) error
}

// gc is one run of GC. What it finds belongs to this root by its place, by the
// root's key or by a record; it looks at nothing else.
type gc struct {
	*Manager
	GCOptions
	marks []*registry.Mark // of dead commands; ours for now
}

// GC removes what no command has any more use for, calls report for each thing
// when it is gone, or with DryRun for each that would go, and joins the errors of
// those that would not. A thing that a living command works on is left alone. It
// takes the place of Enter: what other commands mend silently it reports.
func (m *Manager) GC(ctx context.Context, o GCOptions, report func(Garbage)) error {
	if _, err := os.Stat(m.store.Run); errors.Is(err, os.ErrNotExist) && empty(m.at.state) {
		return nil
	}
	if !o.DryRun {
		if err := m.store.Init(); err != nil {
			return err
		}
		if err := m.mountRoot(ctx); err != nil {
			return err
		}
	}
	g := &gc{Manager: m, GCOptions: o}
	var errs []error
	// In this order: what one leaves behind the next will find.
	for _, find := range []func() []Garbage{
		g.hookCalls, g.instances, g.interrupted, g.strays, g.copies, g.processes, g.networks, g.firmwares, g.lowers, g.images, g.downloaded, g.temporary,
		g.daemons, g.groups, g.profilesLeft, g.locks,
	} {
		for _, it := range find() {
			if ctx.Err() != nil {
				return errors.Join(append(errs, context.Cause(ctx))...)
			}
			var err error
			if o.DryRun {
				if it.lock != "" && m.store.Locked(it.lock) {
					continue
				}
			} else if it.Removed, err = g.remove(ctx, it); err != nil {
				errs = append(errs, err)
			}
			if o.DryRun || it.Removed {
				report(it)
			}
		}
	}
	for _, mark := range g.marks {
		mark.Abandon()
	}
	return errors.Join(errs...)
}

// remove clears one thing unless it is in use, or is no garbage any more.
func (g *gc) remove(ctx context.Context, it Garbage) (bool, error) {
	var lock *registry.Lock
	if it.lock != "" {
		var err error
		if lock, err = g.store.TryLock(it.lock, registry.Exclusive); errors.Is(err, registry.ErrLocked) {
			return false, nil
		} else if err != nil {
			return false, err
		}
	}
	var err error
	removed := it.still == nil || it.still()
	if removed {
		err = it.clear(ctx)
	}
	if lock != nil && !g.recorded(it.lock) {
		lock.Remove()
	} else {
		lock.Unlock()
	}
	if errors.Is(err, errLater) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot remove %s: %w", it.what(), err)
	}
	return removed, nil
}

// errLater is of a clear that found its object in use after all.
var errLater = errors.New("in use")

// what names a thing in a message.
func (it Garbage) what() string {
	if it.Name == "" {
		return it.Kind + " " + quote(it.Path)
	}
	return it.Kind + " " + it.Name
}

// recorded tells whether the object of a lock has a record, be it broken.
func (g *gc) recorded(lock string) bool {
	kind, id, _ := strings.Cut(lock, "-")
	var err error
	switch kind {
	case "i":
		_, err = g.store.Instances.Load(id)
	case "f":
		_, err = g.store.Firmwares.Load(id)
	case "u":
		if _, err := os.Lstat(filepath.Join(g.downloads(), id)); err != nil {
			return false
		}
	}
	var missing *registry.NotFoundError
	return !errors.As(err, &missing)
}

// instances finds those that were half made or half dropped, and those of a
// `run --rm` that is over.
func (g *gc) instances() (found []Garbage) {
	all, _ := g.store.Instances.All()
	for _, inst := range all {
		it := Garbage{Kind: "instance", Name: inst.Name, Path: g.at.workspace(inst.ID), lock: "i-" + inst.ID}
		doomed := func() bool {
			now, err := g.store.Instances.Load(inst.ID)
			return err == nil && (now.Removing || g.over(now, nil))
		}
		switch {
		case !doomed():
			continue
		case inst.Removing:
			it.Reason = "it was half made or half dropped"
		default:
			it.Reason = "the run that it was made for is over"
		}
		it.still = doomed
		it.clear = func(ctx context.Context) error { return g.finishDrop(ctx, inst) }
		found = append(found, it)
	}
	return found
}

// interrupted finds the marks of commands that died. Those on an instance whose
// run goes on stay for later.
func (g *gc) interrupted() (found []Garbage) {
	g.marks = g.store.Dead()
	var later []*registry.Mark
	for _, mark := range g.marks {
		kind, id, _ := strings.Cut(mark.Object, ".")
		if kind == "instance" {
			if inst, err := g.store.Instances.Load(id); err == nil && inst.Ephemeral && !g.over(inst, mark) {
				later = append(later, mark)
				continue
			}
		}
		it := Garbage{Kind: "mark", Name: mark.Object, Path: filepath.Join(g.at.run, "pending"), Reason: "a command that worked on it died"}
		if g.DryRun {
			later = append(later, mark)
		}
		it.clear = func(ctx context.Context) error {
			if done, err := g.mendMarked(ctx, mark); err != nil || done {
				return err
			}
			return errLater
		}
		found = append(found, it)
	}
	g.marks = later
	return found
}

// strays finds the directories of instances that have no record.
func (g *gc) strays() (found []Garbage) {
	for _, id := range ids(filepath.Dir(g.at.workspace("x")), filepath.Dir(g.at.runtime("x"))) {
		gone := func() bool { return !g.recorded("i-" + id) }
		if !gone() {
			continue
		}
		path := g.at.workspace(id)
		if _, err := os.Lstat(path); err != nil {
			path = g.at.runtime(id)
		}
		found = append(found, Garbage{
			Kind: "workspace", Name: id, Path: path, Reason: "no instance has it", lock: "i-" + id, still: gone,
			clear: func(ctx context.Context) error { return g.removeStray(ctx, id) },
		})
	}
	return found
}

// firmwares finds those whose removal was not finished, and those that came with
// a `run --rm` and have no instance.
func (g *gc) firmwares() (found []Garbage) {
	all, _ := g.store.Firmwares.All()
	for _, fw := range all {
		doomed := func() bool {
			now, err := g.store.Firmwares.Load(fw.ID)
			return err == nil && (now.Removing || now.Ephemeral && len(g.usersOf(fw.ID)) == 0 && !g.store.Marked("firmware."+fw.ID, nil))
		}
		if !doomed() {
			continue
		}
		it := Garbage{Kind: "firmware", Name: fw.Name, Path: fw.Path, Reason: "it was half removed", lock: "f-" + fw.ID, still: doomed}
		if !fw.Removing {
			it.Reason = "the run that it was added for is over"
		}
		it.clear = func(ctx context.Context) error {
			if !fw.Removing {
				if err := g.condemn(ctx, fw); err != nil {
					return errLater // somebody stands on it now
				}
			}
			return g.removeFirmware(ctx, fw, reasonRecover)
		}
		found = append(found, it)
	}
	return found
}

// locks finds the lock files of objects that are gone.
func (g *gc) locks() (found []Garbage) {
	for _, name := range g.store.LockNames() {
		if gone := func() bool { return !g.recorded(name) }; gone() {
			found = append(found, Garbage{
				Kind: "lock", Name: name, Path: filepath.Join(g.at.run, "locks", name), Reason: "its object is gone", lock: name, still: gone,
				clear: func(context.Context) error { return nil }, // remove takes it away
			})
		}
	}
	return found
}
