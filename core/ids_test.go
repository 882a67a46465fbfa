// SPDX-License-Identifier: Apache-2.0

package core

import (
	"os"
	"path/filepath"
	"testing"

	"firmwared/core/config"
)

// managerWith is one that knows where it is and what ids it has; idsDir is the
// machine's own.
func managerWith(t *testing.T, first, count uint32) *Manager {
	t.Helper()
	state := t.TempDir()
	return &Manager{cfg: &config.Config{UserNSFirst: first, UserNSCount: count}, at: newLayout(state, filepath.Join(state, "run"))}
}

func TestAllocateIDs(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Fatal("this test needs root")
	}
	const first = 1300000000
	a, b := managerWith(t, first, 3*idsPerInstance+5), managerWith(t, first, 3*idsPerInstance)
	instance := func(m *Manager, id string) string {
		if err := os.MkdirAll(m.at.runtime(id), 0o700); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.freeIDs(id) })
		return id
	}
	given := map[uint32]bool{}
	give := func(m *Manager, id string) uint32 {
		ids, err := m.allocateIDs(id)
		if err != nil {
			t.Fatal(err)
		}
		if ids.Count != idsPerInstance || ids.First < first || ids.First+ids.Count > first+3*idsPerInstance {
			t.Errorf("%s: %+v", id, ids)
		}
		return ids.First
	}
	for _, of := range []struct {
		m  *Manager
		id string
	}{{a, "one"}, {b, "one"}, {a, "two"}} {
		n := give(of.m, instance(of.m, of.id))
		if given[n] {
			t.Errorf("%d is given twice", n)
		}
		given[n] = true
		if again := give(of.m, of.id); again != n {
			t.Errorf("asked again: %d after %d", again, n)
		}
	}
	if ids, err := b.allocateIDs(instance(b, "late")); err == nil {
		t.Errorf("a fourth of three: %+v", ids)
	}
	// One that is dropped, and one whose files a reboot took.
	was := give(a, "one")
	a.freeIDs("one")
	if n := give(b, "late"); n != was {
		t.Errorf("%d, want what was given back, %d", n, was)
	}
	lost := give(a, "two")
	if err := os.RemoveAll(a.at.runtime("two")); err != nil {
		t.Fatal(err)
	}
	if n := give(a, instance(a, "three")); n != lost {
		t.Errorf("%d, want the range of who is gone, %d", n, lost)
	}
	// Another setting is heeded.
	a.cfg.UserNSFirst = first + 100*idsPerInstance
	if ids, err := a.allocateIDs("three"); err != nil || ids.First < a.cfg.UserNSFirst {
		t.Errorf("%+v, %v", ids, err)
	}
}

func TestConfinementWords(t *testing.T) {
	for want, p := range map[string]plan{
		"none": {}, "apparmor": {appArmor: true}, "userns": {userNS: true}, "apparmor+userns": {appArmor: true, userNS: true},
	} {
		if have := p.confinement(); have != want {
			t.Errorf("%+v: %s", p, have)
		}
	}
	for planned, want := range map[string]string{"userns": "none", "apparmor+userns": "apparmor", "apparmor": "apparmor", "none": "none"} {
		if have := (union{Planned: planned, NoUserNS: "x"}).confinement(); have != want {
			t.Errorf("%s without user namespace: %s", planned, have)
		}
	}
}
