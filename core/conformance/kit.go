// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"firmwared/core/hook"
	"firmwared/core/mount"
)

//go:embed reference.hook
var reference []byte

// kit is one run.
type kit struct {
	ctx    context.Context
	spec   Spec
	dir    string // the run's scratch directory
	hook   hook.Hook
	d      hook.Description
	deaf   error  // why describe told nothing
	sample string // the kit's copy, of a lower hook
	own    bool   // the sample is a directory that the kit made
	site   *site  // of a fetch hook

	uppers  map[string]string // of the watched directories: what was written there
	objects []*object         // of the clause under way
	count   int               // of all objects
	calls   int
	late    []string // calls that passed their time limit
	host    *os.File // the network namespace that is the outside of the clause under way, of a hook for networks
	works   map[string]error
	took    map[string]time.Duration // by a mount that worked
}

// drive runs in the child.
func drive(ctx context.Context, spec Spec, report func(Verdict)) (err error) {
	k := &kit{ctx: ctx, spec: spec, works: map[string]error{}, took: map[string]time.Duration{}}
	if err := k.open(); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, k.tidy(), sweep(spec.Token))
	}()
	for _, c := range spec.chosen() {
		v := k.judge(c)
		if err := k.tidy(); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		report(v)
	}
	return nil
}

// open makes the scratch place, finds the hook and asks what it can do.
func (k *kit) open() (err error) {
	var from *os.File
	if k.spec.Sample != "" { // before the scratch place covers anything
		if from, err = os.Open(k.spec.Sample); err != nil {
			return fmt.Errorf("cannot use the sample: %w", err)
		}
		defer from.Close()
	}
	if k.dir, err = openScratch(k.spec.Token); err != nil {
		return err
	}
	path := k.spec.Hook
	if path == "" {
		path = filepath.Join(k.dir, "reference.hook")
		if err := os.WriteFile(path, reference, 0o755); err != nil {
			return err
		}
	}
	if k.hook, err = hook.File(path); err != nil {
		return err
	}
	k.cover()
	said := k.call(request{action: hook.ActionDescribe})
	if k.deaf = said.done(); k.deaf == nil {
		k.d, k.deaf = hook.Parse(said.stdout)
	}
	if k.deaf != nil || !k.d.HasLayer(hook.LayerLower) {
		return nil
	}
	return k.takeSample(from)
}

// layers are those of a clause that the hook has.
func (k *kit) layers(c Clause) []string {
	if c.Layers == nil {
		return []string{""}
	}
	var have []string
	for _, layer := range c.Layers {
		if k.d.HasLayer(layer) {
			have = append(have, layer)
		}
	}
	return have
}

// judge drives one clause for each layer. It fails if one fails, and is skipped if nothing was driven.
func (k *kit) judge(c Clause) Verdict {
	v := Verdict{Clause: c.Name, Result: OK, Text: c.Text}
	if k.deaf != nil && c.Name != "describe-shape" {
		v.Result, v.Why = Skip, "describe does not work"
		return v
	}
	var skips, faults []string
	layers := k.layers(c)
	if len(layers) == 0 {
		skips = append(skips, "the hook has no layer "+strings.Join(c.Layers, " or "))
	}
	for _, layer := range layers {
		err := k.ready(c, layer)
		if err == nil {
			err = c.run(k, layer)
		}
		var skip skipped
		switch {
		case errors.As(err, &skip):
			skips = append(skips, err.Error())
		case err != nil && layer != "" && len(layers) > 1:
			faults = append(faults, layer+": "+err.Error())
		case err != nil:
			faults = append(faults, err.Error())
		}
	}
	switch {
	case len(faults) > 0 && c.Should:
		v.Result, v.Why = Warn, k.line(faults)
	case len(faults) > 0:
		v.Result, v.Why = Fail, k.line(faults)
	case len(skips) > 0 && len(skips) >= len(layers):
		v.Result, v.Why = Skip, k.line(slices.Compact(skips))
	}
	return v
}

// ready says whether a clause can be driven: what is about mounting cannot where no mount works.
func (k *kit) ready(c Clause, layer string) error {
	if !c.Mounts {
		return nil
	}
	why, tried := k.works[layer]
	if !tried {
		why = k.tryMount(layer)
		k.works[layer] = why
		k.newHost() // a clause begins with nothing outside
	}
	return why
}

// tryMount finds out whether the hook can mount here at all. A hook that loses a race with another program, for a loop
// device say, gets another chance: that is not what the clauses after this are about.
func (k *kit) tryMount(layer string) (why error) {
	for range 3 {
		o, err := k.object(layer)
		if err != nil {
			return err
		}
		r := o.mount()
		k.took[layer] = r.took
		if why = r.done(); why == nil {
			why = o.verify()
		}
		if why == nil {
			return nil
		}
		if layer == hook.LayerNet {
			why = skipped(noNetwork + why.Error())
		} else {
			why = skipped(cannotMount + why.Error())
		}
		if r.exit == hook.ExitMissing || r.late {
			break
		}
	}
	return why
}

// tidy takes away what the clause under way has left.
func (k *kit) tidy() error {
	var problems []error
	for _, o := range k.objects {
		problems = append(problems, o.purge())
	}
	k.objects = nil
	k.newHost()
	return errors.Join(problems...)
}

// litter names what is in the run's directory beside what was there before a call: mounts and loop devices.
func (k *kit) litter() error {
	points, err := mount.Below(k.dir)
	if err != nil {
		return err
	}
	for _, point := range points {
		if !k.mounted(point) {
			return fmt.Errorf("%s is mounted", k.plain(point))
		}
	}
	if loops := loopsOn(k.spec.Token); len(loops) > 0 {
		return fmt.Errorf("%s stands on the firmware", strings.Join(loops, ", "))
	}
	return nil
}

// mounted tells the kit's own mounts.
func (k *kit) mounted(point string) bool {
	for _, o := range k.objects {
		for _, dir := range o.lowers {
			if dir == point {
				return true
			}
		}
	}
	return false
}

// plain shortens paths of the run's directory.
func (k *kit) plain(text string) string { return strings.ReplaceAll(text, k.dir+"/", "") }

// line makes one of several reasons.
func (k *kit) line(reasons []string) string { return oneLine(k.plain(strings.Join(reasons, "; "))) }
