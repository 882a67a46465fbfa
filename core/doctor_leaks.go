// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"firmwared/core/cgroup"
)

// leaks looks for what commands that died have left, and changes none of it. What
// an operation under way has made is not taken for such.
func (d *doctor) leaks(context.Context) {
	living, dead := d.store.Pending()
	busy := func(kind, id string) bool { return slices.Contains(living, kind+"."+id) }
	isInstance := func(id string) bool {
		_, err := d.store.Instances.Load(id)
		return err == nil || isBroken(err) || busy("instance", id)
	}
	isFirmware := func(name string) bool {
		id, _, _ := strings.Cut(name, ".")
		_, err := d.store.Firmwares.Load(id)
		return err == nil || isBroken(err) || busy("firmware", id)
	}
	var left []string
	for _, place := range []struct {
		what, dir string
		known     func(name string) bool
	}{
		{"workspace", filepath.Join(d.at.state, "workspaces"), isInstance},
		{"run directory", filepath.Join(d.at.run, "instances"), isInstance},
		{"lower", filepath.Join(d.at.run, "lowers"), isFirmware},
		{"cgroup", cgroup.Open(cgroupRoot, d.at.key).Path(), func(name string) bool {
			id, ours := strings.CutPrefix(name, "i-")
			return !ours || isInstance(id)
		}},
	} {
		entries, _ := os.ReadDir(place.dir)
		for _, entry := range entries {
			if entry.IsDir() && !place.known(entry.Name()) {
				left = append(left, place.what+" "+quote(filepath.Join(place.dir, entry.Name())))
			}
		}
	}
	for _, object := range dead {
		left = append(left, "interrupted operation on "+strings.Replace(object, ".", " ", 1))
	}
	if len(left) == 0 {
		d.ok("leftovers", "none")
		return
	}
	d.bad(Warning, "leftovers", fmt.Sprintf("%d: %s", len(left), strings.Join(left, ", ")), "firmwared gc removes them")
}
