// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"os"

	"firmwared/core/hook"
)

// must are the variables that a call cannot do without, as the contract has them. Every call needs the first two, too.
var must = []struct {
	action, layer string
	names         []string
}{
	{hook.ActionDescribe, "", nil},
	{hook.ActionProbe, "", []string{hook.VarFirmware}},
	{hook.ActionMount, hook.LayerLower, []string{hook.VarFirmware, hook.VarRO}},
	{hook.ActionUnmount, hook.LayerLower, []string{hook.VarRO}},
	{hook.ActionMount, hook.LayerUnion, []string{hook.VarLowerDir, hook.VarRW, hook.VarWorkDir, hook.VarUnion}},
	{hook.ActionRemount, hook.LayerUnion, []string{hook.VarUnion}},
	{hook.ActionUnmount, hook.LayerUnion, []string{hook.VarUnion}},
	{hook.ActionFetch, "", []string{hook.VarURL, hook.VarOutput, hook.VarState, hook.VarMax}},
	{hook.ActionVerify, "", []string{hook.VarFile, hook.VarSignature, hook.VarKey}},
	{hook.ActionCreate, hook.LayerNet, []string{hook.VarID, hook.VarNetns, hook.VarNetIf}},
	{hook.ActionConfigure, hook.LayerNet, []string{hook.VarID, hook.VarNetns, hook.VarNetIf, hook.VarNetAddress}},
	{hook.ActionClean, hook.LayerNet, []string{hook.VarID}},
}

// asks says whether the hook has a call.
func (k *kit) asks(action, layer string) bool {
	switch action {
	case hook.ActionProbe:
		return k.d.HasLayer(hook.LayerLower)
	case hook.ActionRemount:
		return k.d.HasLayer(layer) && k.d.Live
	case hook.ActionFetch:
		return k.d.HasLayer(hook.LayerFetch)
	case hook.ActionVerify:
		return k.d.HasLayer(hook.LayerVerify)
	}
	return layer == "" || k.d.HasLayer(layer)
}

// ask makes a call of any kind with all that belongs to it.
func (k *kit) ask(action, layer string, change ...func(*request)) (result, error) {
	switch {
	case action == hook.ActionProbe:
		return k.probe(k.sample, change...), nil
	case layer == "":
		q := request{action: action}
		if action != hook.ActionDescribe {
			vars, dir, err := k.fetchVars("/missing", 1<<20)
			if err != nil {
				return result{}, err
			}
			defer os.RemoveAll(dir)
			q.vars = vars
		}
		for _, f := range change {
			f(&q)
		}
		return k.call(q), nil
	}
	o, err := k.object(layer)
	if err != nil {
		return result{}, err
	}
	return o.call(action, change...), nil
}

func missingVariables(k *kit, _ string) error {
	for _, m := range must {
		if !k.asks(m.action, m.layer) {
			continue
		}
		for _, name := range append([]string{hook.VarAPI, hook.VarAction}, m.names...) {
			for _, edit := range []func([]string) []string{without(name), with(name + "=")} {
				if err := k.lacks(m.action, m.layer, edit, name); err != nil {
					return err
				}
			}
		}
		// Without the action there is no telling what else is needed.
		all := append([]string{hook.VarAPI}, m.names...)
		if err := k.lacks(m.action, m.layer, without(all...), all...); err != nil {
			return err
		}
		if m.layer == "" {
			continue
		}
		r, err := k.ask(m.action, m.layer, edited(without(hook.VarLayer)))
		if err == nil {
			err = r.is(hook.ExitEnvironment, hook.ExitNotMine)
		}
		if err != nil {
			return fmt.Errorf("without %s, status 2 or 3 wanted: %w", hook.VarLayer, err)
		}
	}
	return nil
}

// lacks makes a call without some variables: status 2, and they are named.
func (k *kit) lacks(action, layer string, edit func([]string) []string, names ...string) error {
	r, err := k.ask(action, layer, edited(edit))
	if err != nil {
		return err
	}
	if err := r.is(hook.ExitEnvironment); err != nil {
		return fmt.Errorf("without %v, status 2 wanted: %w", names, err)
	}
	if err := r.names(names); err != nil {
		return err
	}
	return k.tidy()
}

func apiVersion(k *kit, _ string) error {
	for _, m := range must {
		if !k.asks(m.action, m.layer) {
			continue
		}
		r, err := k.ask(m.action, m.layer, edited(with(hook.VarAPI+"=2")))
		if err == nil {
			err = r.is(hook.ExitEnvironment)
		}
		if err != nil {
			return fmt.Errorf("%s=2, status 2 wanted: %w", hook.VarAPI, err)
		}
	}
	return nil
}

// unknownNames compares what a hook says and does with and without names from a later version.
func unknownNames(k *kit, _ string) error {
	more := edited(with("FIRMWARED_TOMORROW=a b", "FIRMWARED_OPT_FROBNICATE=1", "FIRMWARED_RO_FLAGS=rw"))
	for _, m := range must {
		if !k.asks(m.action, m.layer) || m.action == hook.ActionRemount {
			continue
		}
		if m.action == hook.ActionMount && k.ready(Clause{Mounts: true}, m.layer) != nil {
			continue // it would fail in any case
		}
		plain, err := k.ask(m.action, m.layer)
		if err == nil {
			err = k.tidy()
		}
		if err != nil {
			return err
		}
		r, err := k.ask(m.action, m.layer, more)
		if err == nil {
			err = r.is(plain.exit)
		}
		if err != nil {
			return fmt.Errorf("with unknown variables, status %d wanted as without: %w", plain.exit, err)
		}
		if string(r.stdout) != string(plain.stdout) {
			return fmt.Errorf("%s prints something else with unknown variables", r.what)
		}
	}
	return nil
}

func noEnvironment(k *kit, _ string) error {
	before, err := snapshot(k.dir)
	if err != nil {
		return err
	}
	return k.watch(func() error {
		r := k.call(request{action: hook.ActionDescribe, edit: func([]string) []string { return nil }})
		r.what = "a call without environment"
		if r.done() == nil {
			return fmt.Errorf("status 0, a failure wanted")
		}
		if len(r.stdout) > 0 {
			return fmt.Errorf("it prints %.60q", r.stdout)
		}
		return k.unchanged(before, r)
	})
}
