// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"

	"firmwared/core/registry"
	"firmwared/core/treewatch"
)

// WatchOptions are what `watch` takes besides the instances.
type WatchOptions struct {
	Restart bool          // those that run something that is old
	Settle  time.Duration // how long a build must be quiet
	Exec    string        // a shell command of this machine, run after each cycle; "": none
}

// Cycle is what came of one build for one instance; the names in JSON are promised.
type Cycle struct {
	Time time.Time `json:"time"` // of the build's last change
	Remounted
	RemountedMS int64  `json:"remounted_ms"`
	NeedsStart  bool   `json:"needs_restart"` // something that runs in it is old
	Restarted   bool   `json:"restarted"`
	RestartedMS int64  `json:"restarted_ms"` // 0 unless it was
	ReadyMS     int64  `json:"ready_ms"`     // since Time, with the time of settling
	Error       string `json:"error,omitempty"`
}

// Watch remounts instances whenever what is below them has changed and is quiet
// again, and reports each time, an instance at a time. It ends with ctx, which is no
// error, or when none of the instances is left. It is its own Enter, each time.
func (m *Manager) Watch(ctx context.Context, all []*registry.Instance, o WatchOptions, report func(Cycle)) error {
	v := &vigil{Manager: m, o: o, sources: map[string][]string{}, report: report}
	var paths []string
	for _, inst := range all {
		chain, err := m.chain(inst.Firmware)
		if err != nil {
			return fmt.Errorf("cannot watch instance %s: %w", inst.Name, err)
		}
		for _, fw := range chain {
			v.sources[inst.ID] = append(v.sources[inst.ID], fw.Path)
			paths = append(paths, fw.Path)
		}
		v.left = append(v.left, inst)
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	w := treewatch.New(paths, m.notice)
	defer w.Close()
	for _, path := range paths {
		m.notice("watching " + quote(path))
	}
	for {
		b, err := w.Next(ctx, o.Settle, v.look)
		if errors.Is(err, errNoneLeft) || ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return err
		}
		// What was begun is finished, or an instance might be killed and not started.
		if err := v.cycle(context.WithoutCancel(ctx), b); err != nil {
			return err
		}
	}
}

// vigil is one run of Watch.
type vigil struct {
	*Manager
	o       WatchOptions
	left    []*registry.Instance
	sources map[string][]string // by the instance's id
	report  func(Cycle)
}

var errNoneLeft = errors.New("no instance is left")

// look leaves out the instances that are gone.
func (v *vigil) look() error {
	v.left = slices.DeleteFunc(v.left, func(inst *registry.Instance) bool {
		now, err := v.store.Instances.Load(inst.ID)
		gone := isGone(err) || err == nil && now.Removing
		if gone {
			v.notice(fmt.Sprintf("instance %s was dropped", inst.Name))
		}
		return gone
	})
	if len(v.left) == 0 {
		return errNoneLeft
	}
	return nil
}

func isGone(err error) bool {
	var gone *registry.NotFoundError
	return errors.As(err, &gone)
}

// cycle deals with one build.
func (v *vigil) cycle(ctx context.Context, b treewatch.Burst) error {
	if err := v.Enter(ctx); err != nil {
		v.Close()
		return err
	}
	defer v.Close()
	var concerned []*registry.Instance
	for _, inst := range v.left {
		if slices.ContainsFunc(v.sources[inst.ID], func(path string) bool { return slices.Contains(b.Paths, path) }) {
			concerned = append(concerned, inst)
		}
	}
	done := make(chan Cycle, len(concerned))
	err := v.Each(ctx, concerned, nil, func(_ int, inst *registry.Instance) error {
		c, err := v.renew(ctx, inst)
		if isGone(err) {
			return nil // look tells of it
		}
		if err != nil {
			c.Error = err.Error()
		}
		c.Time, c.Instance, c.ReadyMS = b.Last, inst.Name, time.Since(b.Last).Milliseconds()
		done <- c
		return nil
	})
	close(done)
	for c := range done {
		v.report(c)
		v.execute(ctx, c)
	}
	return err
}

// renew remounts an instance, and restarts it if that is wanted and helps.
func (v *vigil) renew(ctx context.Context, inst *registry.Instance) (c Cycle, err error) {
	begun := time.Now()
	if c.Remounted, err = v.Remount(ctx, inst); err != nil {
		return c, err
	}
	c.RemountedMS = time.Since(begun).Milliseconds()
	if !v.status(inst.ID).Alive() {
		return c, nil
	}
	c.NeedsStart = c.Outdated || !c.Checked || len(c.Stale)+len(c.Rewritten) > 0
	if !c.NeedsStart || !v.o.Restart {
		return c, nil
	}
	if err := v.mountable(ctx, inst); err != nil {
		return c, fmt.Errorf("instance %s goes on as it is: %w", inst.Name, err)
	}
	begun = time.Now()
	if err := v.Restart(ctx, inst, KillOptions{}); err != nil {
		return c, err
	}
	c.Restarted, c.RestartedMS = true, time.Since(begun).Milliseconds()
	return c, nil
}

// mountable tells why an instance could not be mounted anew: then it is better not
// killed.
func (v *vigil) mountable(ctx context.Context, inst *registry.Instance) error {
	chain, err := v.chain(inst.Firmware)
	for _, fw := range chain {
		if err == nil {
			_, err = v.lockedGeneration(ctx, fw)
		}
	}
	return err
}

// execute runs the user's command. What it prints is for the user, so it goes to
// stderr: stdout is for cycles.
func (v *vigil) execute(ctx context.Context, c Cycle) {
	if v.o.Exec == "" {
		return
	}
	yes := map[bool]string{true: "y", false: "n"}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", v.o.Exec)
	others := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "FIRMWARED_") })
	cmd.Env = append(append(others, v.cfg.Environ(os.Environ())...), // a firmwared in it works on the same root
		"FIRMWARED_INSTANCE="+c.Instance,
		"FIRMWARED_CHANGED="+strconv.Itoa(c.Changed),
		"FIRMWARED_NEEDS_RESTART="+yes[c.NeedsStart],
		"FIRMWARED_RESTARTED="+yes[c.Restarted],
		"FIRMWARED_WATCH_ERROR="+strings.ToValidUTF8(c.Error, "?"))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Run(); err != nil {
		v.notice(fmt.Sprintf("warning: --exec for instance %s: %v", c.Instance, err))
	}
}
