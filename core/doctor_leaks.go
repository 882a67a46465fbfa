// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"strings"
)

// leaks names what gc would remove, and changes none of it.
func (d *doctor) leaks(ctx context.Context) {
	var left []string
	err := d.GC(ctx, GCOptions{DryRun: true}, func(it Garbage) {
		what := it.what()
		if it.Name != "" {
			what += " (" + quote(it.Path) + ")"
		}
		left = append(left, what)
	})
	switch {
	case err != nil:
		d.bad(Warning, "leftovers", err.Error(), "firmwared gc tells more")
	case len(left) == 0:
		d.ok("leftovers", "none")
	default:
		d.bad(Warning, "leftovers", fmt.Sprintf("%d: %s", len(left), strings.Join(left, ", ")), "firmwared gc removes them")
	}
}
