// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"slices"
	"strings"

	"firmwared/core/apparmor"
)

// profilesLeft finds AppArmor profiles that were loaded for instances that are
// gone or do not run, and those of state directories that were deleted.
func (g *gc) profilesLeft() (found []Garbage) {
	for _, name := range g.unusedProfiles() {
		it := Garbage{Kind: "profile", Name: name, Path: g.at.run, Reason: "no instance has use for it"}
		still := func() bool { return slices.Contains(g.unusedProfiles(), name) }
		if id := strings.TrimPrefix(name, apparmor.OwnName("")); objectID.MatchString(id) {
			it.lock, still = "i-"+id, func() bool { return !g.runs(id) }
		}
		it.clear = func(ctx context.Context) error {
			return g.withProfiles(ctx, func() error {
				if !still() {
					return errLater
				}
				return later(g.profiles().Remove(name))
			})
		}
		found = append(found, it)
	}
	for _, name := range apparmor.Stale() {
		found = append(found, Garbage{
			Kind: "profile", Name: name, Path: "/sys/kernel/security/apparmor", Reason: "its state directory is gone",
			clear: func(context.Context) error { return later(apparmor.RemoveStale(name)) },
		})
	}
	return found
}

// later says of a profile in use that its time has not come.
func later(err error) error {
	if errors.Is(err, apparmor.ErrInUse) {
		return errLater
	}
	return err
}
