// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"firmwared/core/cgroup"
	"firmwared/core/supervisor"
)

// hookCalls finds hooks that went on after the command that called them died.
func (g *gc) hookCalls() (found []Garbage) {
	calls, _ := g.runner.Abandoned()
	for _, call := range calls {
		found = append(found, Garbage{
			Kind: "hook", Path: cgroup.Open(append(g.runner.Cgroup, call)...).Path(), Reason: "the command that called it died",
			clear: func(context.Context) error { return g.runner.End(call) },
		})
	}
	return found
}

// daemons finds what hooks left for mounts that are gone.
func (g *gc) daemons() (found []Garbage) {
	scopes, _ := g.runner.Scopes()
	for _, scope := range scopes {
		lock, gone := g.scope(scope)
		if gone != nil && gone() {
			found = append(found, Garbage{
				Kind: "daemon", Name: scope, Path: cgroup.Open(g.runner.Cgroup...).Path(), Reason: "what it served is unmounted", lock: lock, still: gone,
				clear: func(context.Context) error { return g.runner.Sweep(scope) },
			})
		}
	}
	return found
}

// scope reads the name that lowerCall or unionCall gave to a daemon's mount.
func (g *gc) scope(name string) (lock string, gone func() bool) {
	rest, ours := strings.CutPrefix(name, g.at.key+"-")
	if id, ok := strings.CutPrefix(rest, "union-"); ours && ok {
		return "i-" + id, func() bool {
			_, found := g.readUnion(id)
			return !found
		}
	}
	if of, ok := strings.CutPrefix(rest, "lower-"); ours && ok {
		id, generation, _ := strings.Cut(of, "-")
		return "f-" + id, func() bool {
			_, err := os.Stat(g.lowerFile(lower{Firmware: id, Generation: generation}))
			return err != nil
		}
	}
	return "", nil
}

// processes finds what outlived a supervisor that was killed.
func (g *gc) processes() (found []Garbage) {
	all, _ := g.store.Instances.All()
	for _, inst := range all {
		dir := g.at.runtime(inst.ID)
		if left := func() bool { return supervisor.Remains(dir) }; left() {
			found = append(found, Garbage{
				Kind: "processes", Name: inst.Name, Path: dir, Reason: "their supervisor died", lock: "i-" + inst.ID, still: left,
				clear: func(ctx context.Context) error { return supervisor.Clean(ctx, dir) },
			})
		}
	}
	return found
}

// groups finds the cgroups of instances that do not run, and the one of their
// supervisors when it is empty.
func (g *gc) groups() (found []Garbage) {
	root := cgroup.Open(cgroupRoot, g.at.key)
	names, _ := root.Children()
	for _, name := range names {
		group := root.Child(name)
		it := Garbage{Kind: "cgroup", Path: group.Path()}
		if id, ok := strings.CutPrefix(name, "i-"); ok {
			it.Reason, it.lock = "its instance does not run", name
			it.still = func() bool { return !g.runs(id) }
			it.clear = func(context.Context) error { return end(group) }
		} else if name == "supervisors" {
			it.Reason = "no supervisor is in it"
			it.still = func() bool {
				populated, err := group.Populated()
				return err == nil && !populated
			}
			it.clear = func(context.Context) error {
				if err := os.Remove(group.Path()); err != nil && !errors.Is(err, os.ErrNotExist) {
					return errLater // a start has use for it
				}
				return nil
			}
		}
		if it.still != nil && it.still() {
			found = append(found, it)
		}
	}
	return found
}

// runs tells whether an instance has a supervisor, or may have one.
func (g *gc) runs(id string) bool {
	st, err := supervisor.Read(g.at.runtime(id))
	return err != nil || st.Alive()
}

// end kills what is in a group and removes it.
func end(group *cgroup.Group) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(group.Kill(), group.WaitEmpty(ctx), group.Remove())
}
