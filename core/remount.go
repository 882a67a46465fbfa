// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/event"
	"firmwared/core/fault"
	"firmwared/core/hook"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// Remounted is what a remount came to; the names in JSON are promised.
type Remounted struct {
	Instance string   `json:"instance"`
	Changed  int      `json:"changed"`  // files below that changed since the last mount or remount
	Stale    []Stale  `json:"stale"`    // what it still does not see as it is below
	Shadowed []string `json:"shadowed"` // changed below, but the instance has its own
	// Rewritten files were changed in place while they were held: all is seen, but who
	// holds them may have read what was there before.
	Rewritten []string `json:"rewritten"`
	Outdated  bool     `json:"outdated"` // its firmware directory was deleted and made anew
	Checked   bool     `json:"checked"`  // false: its union is none that can be looked into
	Advice    []string `json:"advice"`   // the least that would help
}

// Stale is a path that an instance does not see as it is below.
type Stale struct {
	Path string `json:"path"`
	PIDs []int  `json:"pids"` // those that hold the old one, on the host
}

// Fresh says whether the instance sees everything as it is below.
func (r Remounted) Fresh() bool { return len(r.Stale)+len(r.Shadowed) == 0 && !r.Outdated }

// Remount makes an instance see what changed below it, and looks whether it
// does. One that is not running gets its union anew; a running one is asked to
// forget what it looked up. Needs Enter.
func (m *Manager) Remount(ctx context.Context, inst *registry.Instance) (r Remounted, err error) {
	r = Remounted{Instance: inst.Name, Stale: []Stale{}, Shadowed: []string{}, Rewritten: []string{}, Advice: []string{}}
	err = m.change(ctx, inst, func() error {
		mark, err := m.store.Begin("instance." + inst.ID)
		if err != nil {
			return err
		}
		defer mark.End()
		last, _ := m.readUnion(inst.ID)
		if m.status(inst.ID).Alive() {
			err = m.remountRunning(ctx, inst, last, &r)
		} else {
			p, _ := m.planWalls(false)
			err = m.ensureUnion(ctx, inst, p, true, reasonRemount)
		}
		if err != nil {
			return err
		}
		m.tellInstance(event.Remounted, inst)
		if r.Outdated {
			return nil
		}
		return m.checkFresh(ctx, inst, last.Seen, &r)
	})
	r.advise()
	return r, err
}

func (m *Manager) remountRunning(ctx context.Context, inst *registry.Instance, u union, r *Remounted) error {
	if u.Hook == "" {
		return fmt.Errorf("cannot remount instance %s: it runs, but its union is not mounted; restart it", inst.Name)
	}
	call, err := m.unionCall(ctx, inst, u)
	if err != nil {
		return err
	}
	fault.Point("remount.marked")
	seen := now()
	call.Action = hook.ActionRemount
	if _, err := m.callLayer(ctx, call); err != nil {
		return err
	}
	fault.Point("remount.called")
	if !m.unionMounted(inst.ID, u) {
		return fmt.Errorf("%s: hook %s reported success, but the union is no longer mounted", call.Object, call.Hook.Name)
	}
	if m.lowerLost(u) {
		return fmt.Errorf("the firmware below instance %s is gone: it was unmounted, or the daemon of its hook has ended; restart the instance", inst.Name)
	}
	if r.Outdated, err = m.outdated(ctx, u); err != nil || r.Outdated {
		return err
	}
	u.Seen = seen
	return registry.WriteRuntime(m.at.unionFile(inst.ID), u)
}

// now is by the clock that the kernel takes the times of files from, which lags
// behind the exact one by up to a tick (ktime_get_coarse_real_ts64).
func now() time.Time {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_REALTIME_COARSE, &ts) != nil {
		return time.Now().Add(-10 * time.Millisecond)
	}
	return time.Unix(ts.Unix())
}

// checkFresh compares an instance's view with the lowers as they are. since is
// when that was last done.
func (m *Manager) checkFresh(ctx context.Context, inst *registry.Instance, since time.Time, r *Remounted) error {
	u, _ := m.readUnion(inst.ID)
	var fs unix.Statfs_t
	if unix.Statfs(m.at.union(inst.ID), &fs) != nil || fs.Type != unix.OVERLAYFS_SUPER_MAGIC {
		return nil
	}
	lowers, err := m.lowerDirs(u)
	if err != nil {
		return err
	}
	ts, err := unix.TimeToTimespec(since)
	if err != nil {
		return err
	}
	view := rwlayer.View{Union: m.at.union(inst.ID), RW: m.at.rw(inst.ID), Lowers: lowers, Since: ts}
	found, err := view.Check(ctx)
	if err != nil {
		return fmt.Errorf("cannot tell whether instance %s sees everything: %w", inst.Name, err)
	}
	held := m.held(inst.ID)
	gone, err := view.Gone(sortedKeys(held))
	if err != nil {
		return fmt.Errorf("cannot tell whether instance %s sees everything: %w", inst.Name, err)
	}
	rewritten, err := view.Rewritten(sortedKeys(held))
	if err != nil {
		return fmt.Errorf("cannot tell whether instance %s sees everything: %w", inst.Name, err)
	}
	r.Rewritten = append(r.Rewritten, rewritten...)
	for _, path := range append(found.Stale, gone...) {
		r.Stale = append(r.Stale, Stale{path, holdersOf(held, path)})
	}
	r.Checked, r.Changed = true, found.Changed
	r.Shadowed = append(r.Shadowed, found.Shadowed...)
	return nil
}

// holdersOf are the processes that hold a path or something below it.
func holdersOf(held map[string][]int, path string) []int {
	pids := []int{}
	for at, by := range held {
		if at == path || strings.HasPrefix(at, path+"/") {
			pids = append(pids, by...)
		}
	}
	slices.Sort(pids)
	return slices.Compact(pids)
}

// advise says what would help, the least of it.
func (r *Remounted) advise() {
	if len(r.Stale) > 0 || r.Outdated {
		r.Advice = append(r.Advice, "restart "+r.Instance)
	}
	if len(r.Shadowed) > 0 {
		r.Advice = append(r.Advice, "reset "+r.Instance+" "+strings.Join(r.Shadowed, " "))
	}
}

// held maps paths inside an instance to the processes of it that have them open,
// mapped, or as working directory. The names are as the instance made them.
func (m *Manager) held(id string) map[string][]int {
	held := map[string][]int{}
	st := m.status(id)
	if !st.Alive() || st.PID == 0 {
		return held
	}
	for _, pid := range processesOf(st) {
		for _, path := range openedBy(pid) {
			if strings.HasPrefix(path, "/") && path != "/" && !slices.Contains(held[path], pid) {
				held[path] = append(held[path], pid)
			}
		}
	}
	return held
}

// openedBy lists what a process has open, mapped, or as working directory.
func openedBy(pid int) []string {
	proc := fmt.Sprintf("/proc/%d/", pid)
	links := []string{proc + "cwd", proc + "exe"}
	fds, _ := os.ReadDir(proc + "fd")
	for _, fd := range fds {
		links = append(links, proc+"fd/"+fd.Name())
	}
	var paths []string
	for _, link := range links {
		if target, err := os.Readlink(link); err == nil {
			paths = append(paths, target)
		}
	}
	maps, _ := os.ReadFile(proc + "maps")
	for line := range strings.Lines(string(maps)) {
		if _, path, mapped := strings.Cut(strings.TrimSuffix(line, "\n"), " /"); mapped { // no other field holds a slash
			paths = append(paths, "/"+path)
		}
	}
	return paths
}
