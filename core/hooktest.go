// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"firmwared/core/conformance"
	"firmwared/core/hook"
)

// HookTestOptions are what `hook test` takes.
type HookTestOptions struct {
	Hook    string // a path if there is a slash in it or it ends in .hook, else a name; "": the kit's own hook
	Sample  string // path of a firmware; "": the kit makes a directory
	Options map[string]string
	Clause  string // "": all
}

// HookTest drives the clauses of the hook contract against a hook. begin is called with the number of verdicts before
// the first one is reported. Failed clauses are no error.
func (m *Manager) HookTest(ctx context.Context, o HookTestOptions, begin func(int), report func(conformance.Verdict)) error {
	spec := conformance.Spec{Options: o.Options, Clause: o.Clause, Lib: m.cfg.LibDir, Limits: map[string]time.Duration{}}
	if err := spec.Check(); err != nil {
		return err
	}
	if o.Hook != "" {
		h, err := m.findHook(o.Hook)
		if err != nil {
			return err
		}
		spec.Hook = h.Path
		for _, a := range hook.Actions() {
			spec.Limits[a.Name] = m.runner.Timeout(h.Name, a.Name)
		}
	}
	if o.Sample != "" {
		real, _, err := findSource(o.Sample)
		if err != nil {
			return err
		}
		spec.Sample = real
	}
	begin(spec.Count())
	return conformance.Test(ctx, spec, report)
}

// findHook finds a hook by its path or name. A file that is not installed is held to the same rules: root runs it.
func (m *Manager) findHook(key string) (hook.Hook, error) {
	if !strings.Contains(key, "/") && !strings.HasSuffix(key, hook.Suffix) {
		return m.hooks.Find(key)
	}
	path, err := filepath.Abs(key)
	if err != nil {
		return hook.Hook{}, err
	}
	h, err := hook.File(path)
	if err != nil {
		return h, fmt.Errorf("%w; root would run it: put a copy where only root can change it (sudo install -D -m 755 -t /root/hooks %s)", err, quote(key))
	}
	return h, nil
}
