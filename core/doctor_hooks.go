// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"firmwared/core/cgroup"
	"firmwared/core/hook"
)

// hookFiles looks at each hook: may it be run, what does it say of itself, and is
// what it requires there.
func (d *doctor) hookFiles(ctx context.Context) {
	d.runner.CacheDir = "" // asked anew, and nothing kept
	d.runner.Cgroup = []string{cgroupRoot, trialName()}
	defer removeTrial(cgroup.Open(d.runner.Cgroup...))
	hooks, broken := d.hooks.List()
	for _, err := range broken {
		var untrusted *hook.TrustError
		advice := "see to it that it can be read"
		if errors.As(err, &untrusted) {
			advice = "it is not used: mend that, or mask it by a link to /dev/null in " + d.hooks[0]
		}
		d.judge(Problem, "hook file", err, "", advice)
	}
	lowers, union := 0, false
	for _, h := range hooks {
		about, err := d.runner.Describe(ctx, h)
		if err != nil {
			d.judge(Problem, "hook "+h.Name, err, "", "mend "+quote(h.Path)+", or mask it by a link to /dev/null in "+d.hooks[0])
			continue
		}
		if about.HasLayer(hook.LayerLower) {
			lowers++
		}
		status := Warning
		if h.Name == d.cfg.Union && about.HasLayer(hook.LayerUnion) {
			status, union = Problem, true // every instance needs it
		}
		if missing := lacking(ctx, about.Requires); len(missing) > 0 {
			advice := "without, it cannot mount " + or(strings.Join(about.Formats, " "), "anything")
			if about.HasLayer(hook.LayerNet) {
				advice = "without, it cannot make a network"
			} else if !about.HasLayer(hook.LayerLower) && !about.HasLayer(hook.LayerUnion) {
				advice = "without, it cannot do its work"
			}
			d.bad(status, "hook "+h.Name, "missing: "+strings.Join(missing, ", "), advice)
			continue
		}
		d.ok("hook "+h.Name, about.Summary)
	}
	dirs := strings.Join(d.hooks, ", ")
	if lowers == 0 {
		d.bad(Problem, "lower hooks", "none in "+dirs, "set hook_dirs to where the hooks are installed")
	}
	if !union {
		d.bad(Problem, "union hook", fmt.Sprintf("no usable %s in %s", d.cfg.Union+hook.Suffix, dirs), "set union_hook to one that is there")
	}
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
