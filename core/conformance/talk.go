// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"firmwared/core/hook"
)

func describeShape(k *kit, _ string) error {
	if k.deaf != nil {
		return k.deaf
	}
	plain := k.call(request{action: hook.ActionDescribe})
	loud := k.call(request{action: hook.ActionDescribe, verbose: true})
	for _, r := range []result{plain, loud} {
		if err := r.done(); err != nil {
			return err
		}
		if _, err := hook.Parse(r.stdout); err != nil {
			return err
		}
	}
	if string(plain.stdout) != string(loud.stdout) {
		return errors.New("it prints something else when verbose")
	}
	return nil
}

func describePure(k *kit, _ string) error {
	before, err := snapshot(k.dir)
	if err != nil {
		return err
	}
	return k.watch(func() error {
		r := k.call(request{action: hook.ActionDescribe})
		return k.unchanged(before, r)
	})
}

// unchanged says what a call that must not change anything did in the run's directory, and what it left running.
func (k *kit) unchanged(before map[string]entry, r result) error {
	if len(r.left) > 0 {
		return fmt.Errorf("%s left processes: %s", r.what, strings.Join(r.left, ", "))
	}
	after, err := snapshot(k.dir)
	if err == nil {
		err = differ(before, after)
	}
	if err == nil {
		err = k.litter()
	}
	return err
}

// requireKinds are the kinds of words that the contract knows.
var requireKinds = []string{"tool", "fs", "dm", "dev"}

func requiresWords(k *kit, _ string) error {
	var strange []string
	for _, word := range k.d.Requires {
		kind, value, ok := strings.Cut(word, ":")
		if !ok || value == "" || !has(requireKinds, kind) {
			strange = append(strange, word)
		}
	}
	if len(strange) > 0 {
		return fmt.Errorf("%s", strings.Join(strange, " "))
	}
	return nil
}

const madeUp = "frobnicate"

// unknownAction replaces the action in the environment of ones that exist: all else is in order.
func unknownAction(k *kit, _ string) error {
	made := with(hook.VarAction + "=" + madeUp)
	if err := k.call(request{action: hook.ActionDescribe, edit: made}).is(hook.ExitNotMine); err != nil {
		return fmt.Errorf("action %s, status 3 wanted: %w", madeUp, err)
	}
	for _, layer := range k.layers(Clause{Layers: both}) {
		o, err := k.object(layer)
		if err != nil {
			return err
		}
		if err := o.mount(edited(made)).is(hook.ExitNotMine); err != nil {
			return fmt.Errorf("action %s, layer %s, status 3 wanted: %w", madeUp, layer, err)
		}
	}
	return nil
}

func unknownLayer(k *kit, _ string) error {
	for _, layer := range slices.Concat(both, network) {
		o, err := k.foreign(layer)
		if err != nil {
			return err
		}
		actions := []string{hook.ActionMount, hook.ActionUnmount}
		if layer == hook.LayerNet {
			actions = []string{hook.ActionCreate, hook.ActionConfigure, hook.ActionClean}
		}
		for _, action := range actions {
			if err := o.call(action, edited(with(hook.VarLayer+"=sideways"))).is(hook.ExitNotMine); err != nil {
				return fmt.Errorf("layer sideways, status 3 wanted: %w", err)
			}
			if k.d.HasLayer(layer) {
				continue
			}
			if err := o.call(action).is(hook.ExitNotMine); err != nil {
				return fmt.Errorf("layer %s, status 3 wanted: %w", layer, err)
			}
		}
	}
	return nil
}

// foreign makes an object of a layer that the hook may not have.
func (k *kit) foreign(layer string) (*object, error) {
	if layer == hook.LayerLower && k.sample == "" {
		k.sample = filepath.Join(k.dir, "firmware")
		if err := makeTree(k.sample); err != nil {
			return nil, err
		}
	}
	return k.object(layer)
}

func edited(edit func([]string) []string) func(*request) {
	return func(q *request) { q.edit = edit }
}

func loudly(q *request) { q.verbose = true }
