// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// ApplyOptions are what `apply` takes besides the instance.
type ApplyOptions struct {
	DiffOptions        // which changes
	Dir         string // "": the firmware's own directory
	DryRun      bool
	Force       bool // also what was changed in the directory meanwhile
	Owner       bool // owners, set-user-ID bits and attributes as well

	Done     func(change, path string) // a path that was changed, or would be
	Leave    func(path, why string)    // what cannot be applied
	Conflict func(path, why string)    // what was changed in the directory meanwhile
}

// Apply changes a directory as an instance has changed its firmware. It changes
// nothing if a path there is not what the instance started from; what was changed
// before another error stays, each file whole. No link in the directory is
// followed. As with Diff, a running instance goes on. Needs Enter.
func (m *Manager) Apply(ctx context.Context, inst *registry.Instance, o ApplyOptions) error {
	err := o.check()
	if err == nil {
		err = m.chooseDir(inst, &o)
	}
	if err == nil {
		err = m.onLayers(ctx, inst, func(u union) error { return m.apply(ctx, inst, u, o) })
	}
	if err != nil {
		return fmt.Errorf("cannot apply what instance %s changed: %w", inst.Name, err)
	}
	return nil
}

func (m *Manager) chooseDir(inst *registry.Instance, o *ApplyOptions) error {
	if o.Dir != "" {
		return nil
	}
	fw, err := m.store.Firmwares.Load(inst.Firmware)
	if err != nil {
		return err
	}
	if fw.Image || fw.Copied {
		return fmt.Errorf("firmware %s is no directory of yours: say which one to change", fw.Name)
	}
	o.Dir = fw.Path
	return nil
}

func (m *Manager) apply(ctx context.Context, inst *registry.Instance, u union, o ApplyOptions) error {
	dir, err := os.OpenFile(o.Dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return fmt.Errorf("cannot use %s: %w", quote(o.Dir), cause(err))
	}
	defer dir.Close()
	rw, err := os.OpenFile(m.at.rw(inst.ID), unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer rw.Close()
	a := &applier{ApplyOptions: o, inst: inst, dir: dir, rw: rw, made: map[string]bool{}, stamps: map[string]string{}}
	notes := filepath.Join(m.at.runtime(inst.ID), "applied.json")
	registry.ReadRuntime(notes, &a.stamps)
	err = rwlayer.Diff(ctx, m.at.rw(inst.ID), m.firmwareDirs(u), func(c rwlayer.Change) error {
		if !o.wants(c.Path) {
			return nil
		}
		return a.plan(c)
	})
	if err == nil {
		err = a.checkEmptied()
	}
	if err != nil {
		return err
	}
	if a.conflicts > 0 {
		return fmt.Errorf("%d paths were changed in %s meanwhile: nothing was applied", a.conflicts, quote(o.Dir))
	}
	if o.DryRun {
		for _, s := range a.steps {
			o.Done(s.what, s.path)
		}
		return nil
	}
	return errors.Join(a.run(ctx), registry.WriteRuntime(notes, a.stamps))
}

// applier first plans, then acts.
type applier struct {
	ApplyOptions
	inst      *registry.Instance
	dir, rw   *os.File
	steps     []step
	conflicts int
	made      map[string]bool // directories that are there when all is done
	// stamps tell, path by path, which state of a file is the work of an apply
	// since boot: it is no change of somebody else's.
	stamps map[string]string
}

// step is one path to be changed.
type step struct {
	path, what string
	kinds      []string
	mode       uint32 // with the type, of what is to be there
	uid, gid   uint32
}

// plan looks whether a change can be applied.
func (a *applier) plan(c rwlayer.Change) error {
	s := step{path: c.Path, what: c.What, kinds: c.Kinds}
	if c.After != nil {
		s.mode, s.uid, s.gid = c.After.Stat.Mode, c.After.Stat.Uid, c.After.Stat.Gid
		switch c.After.Type() {
		case unix.S_IFREG, unix.S_IFDIR, unix.S_IFLNK:
		default:
			a.Leave(c.Path, "devices, sockets and pipes are not applied")
			return nil
		}
		if !a.Owner && c.What == rwlayer.Changed && !slices.ContainsFunc(c.Kinds, visible) {
			return nil
		}
	}
	now, done, err := a.now(c)
	if err != nil {
		return err
	}
	defer done()
	same := now == nil && c.After == nil
	if now == nil && !same && !a.made[path.Dir(c.Path)] && !a.hasDir(path.Dir(c.Path)) {
		a.conflict(c.Path, "its directory is not there, or a link is in the way")
		return nil
	}
	if now != nil && c.After != nil {
		if same, err = rwlayer.Same(now, c.After); err != nil {
			return err
		}
	}
	if same && !(a.Owner && c.After != nil) {
		return nil
	}
	if !same && !a.Force {
		why, err := a.moved(now, c)
		if err != nil {
			return err
		}
		if why != "" {
			a.conflict(c.Path, why)
		}
	}
	if c.After != nil && c.After.IsDir() {
		a.made[c.Path] = true
	}
	a.steps = append(a.steps, s)
	return nil
}

// visible: a kind of change that does not need Owner.
func visible(kind string) bool { return kind != rwlayer.KindOwner && kind != rwlayer.KindXattr }

func (a *applier) conflict(path, why string) {
	a.conflicts++
	a.Conflict(path, why)
}

// now is what the directory has at a path, nil for nothing, also where the way
// there is not one of directories. It can be used until done is called.
func (a *applier) now(c rwlayer.Change) (n *rwlayer.Node, done func(), err error) {
	parent, base, err := place(a.dir, c.Path)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ELOOP) || errors.Is(err, unix.ENOTDIR) {
			return nil, func() {}, nil
		}
		return nil, nil, fmt.Errorf("cannot look at %s: %w", quote(c.Path), cause(err))
	}
	n, err = rwlayer.NodeAt(parent, base)
	return n, func() { parent.Close() }, err
}

// moved says why what is there is not what the instance started from, or "".
func (a *applier) moved(now *rwlayer.Node, c rwlayer.Change) (string, error) {
	switch {
	case now != nil && a.stamps[c.Path] == stampOf(&now.Stat):
		return "", nil
	case c.Before == nil && now == nil:
		return "", nil
	case c.Before == nil && now.IsDir() && c.After.IsDir():
		return "", nil
	case c.Before == nil:
		return "it is there already, and is another", nil
	case now == nil && a.made[path.Dir(c.Path)]:
		return "", nil
	case now == nil:
		return "it is gone", nil
	}
	if now.Stat.Dev != c.Before.Stat.Dev || now.Stat.Ino != c.Before.Stat.Ino {
		same, err := rwlayer.Same(now, c.Before)
		if err != nil || same {
			return "", err
		}
		return "it is not what the firmware has", nil
	}
	if now.IsDir() {
		return "", nil // the times of a directory tell only of what is in it
	}
	// The directory is the firmware itself: was it changed after the instance took it?
	born, err := rwlayer.Born(a.rw.Name(), c.Path)
	if err != nil {
		return "", err
	}
	if born.IsZero() {
		born = a.inst.Created
	}
	// The kernel's clock for files moves in ticks of some milliseconds: at the same one
	// it may have been before or after, and what may be lost is not overwritten.
	if unix.TimespecToNsec(now.Stat.Ctim) >= born.UnixNano() {
		return "it was changed after the instance changed it", nil
	}
	return "", nil
}

func stampOf(st *unix.Stat_t) string {
	return fmt.Sprintf("%d:%d:%d", st.Dev, st.Ino, unix.TimespecToNsec(st.Ctim))
}

// checkEmptied sees that what is in a directory that goes, goes as well.
func (a *applier) checkEmptied() error {
	goes := map[string]bool{}
	for _, s := range a.steps {
		goes[s.path] = s.what == rwlayer.Deleted
	}
	for _, s := range a.steps {
		if s.mode&unix.S_IFMT == unix.S_IFDIR {
			continue
		}
		dir, err := a.open(s.path, unix.O_RDONLY|unix.O_DIRECTORY)
		if err != nil {
			continue // it is no directory, or is not there
		}
		names, err := dir.Readdirnames(-1)
		dir.Close()
		if err != nil {
			return err
		}
		for _, name := range names {
			if !goes[path.Join(s.path, name)] {
				a.conflict(path.Join(s.path, name), "it is in a directory that was deleted")
			}
		}
	}
	return nil
}
