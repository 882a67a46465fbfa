// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
)

const (
	payloadGroup     = "payload"
	execGroup        = "exec"
	supervisorsGroup = "supervisors"
)

// supervisorsOf is the group that the supervisors of an instance and of its
// neighbours share. One of their own would cost each 7 to 16 ms at its end: a
// process cannot remove the group it is in, and moving out waits for an RCU
// grace period (cgroup_attach_lock).
func supervisorsOf(elem []string) []string {
	return append(slices.Clone(elem[:len(elem)-1]), supervisorsGroup)
}

// CellOf names the cgroup1 groups, shared with its neighbours, that keep an
// instance from seeing those of the machine (cgroup.EnterCell). They stay when it
// ends: who knows the last of the neighbours removes them.
func CellOf(elem []string) string {
	return strings.Join(elem[:len(elem)-1], "-")
}

// filterDevices bounds what pid 1 and all its children, and what is executed beside
// them, may open: it makes the group, anew, as a program that is there stays there.
// The caller holds the lock of the instance, and sweeps when it fails.
func (s *Spec) filterDevices(ctx context.Context) error {
	confine := &s.Sandbox.Confine
	s.Sandbox.DeviceGroup, s.NoDeviceFilter = nil, ""
	if s.AttachDevices == nil || confine.None || len(s.Cgroup) == 0 {
		return nil
	}
	if path := cgroup.Open(s.Cgroup...).Path(); path != "" {
		if _, err := os.Stat(path); err == nil { // of a start that was killed
			if err := removeGroup(ctx, s.Cgroup); err != nil {
				return err
			}
		}
	}
	if _, err := cgroup.Make(s.Cgroup...); err != nil && !errors.Is(err, cgroup.ErrNone) {
		return err
	}
	legacy, err := cgroup.AllowDevices(s.AttachDevices, confine.DeviceRules(), s.Cgroup...)
	switch {
	case errors.Is(err, cgroup.ErrNoDeviceFilter):
		s.NoDeviceFilter = err.Error() // told by Status
	case err != nil:
		return err
	case legacy:
		s.Sandbox.DeviceGroup = s.Cgroup
	}
	return nil
}

// removeGroup kills what is in an instance's group, waits until it is empty and
// removes it.
func removeGroup(ctx context.Context, elem []string) error {
	if len(elem) == 0 {
		return nil
	}
	group := cgroup.Open(elem...)
	populated, err := group.Populated()
	if errors.Is(err, cgroup.ErrNone) {
		return errors.Join(cgroup.RemoveLegacy(elem...), cgroup.RemoveDevices(elem...))
	}
	if err == nil && populated {
		err = errors.Join(group.Kill(), group.WaitEmpty(ctx))
	}
	return errors.Join(err, group.Remove(), cgroup.RemoveLegacy(elem...), cgroup.RemoveDevices(elem...))
}

// EnterGroups puts a process, with its threads, into every group of the instance
// whose Status.Cgroup is elem: it lives under the instance's limits from then on
// and is killed at the instance's end.
func EnterGroups(elem []string, pid int) error {
	if len(elem) == 0 {
		return nil
	}
	err := cgroup.Open(append(slices.Clone(elem), payloadGroup)...).Enter(pid)
	if errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EOPNOTSUPP) {
		// The instance handed controllers down in its own group, which therefore
		// takes no processes any more (no internal process constraint, cgroup-v2.rst).
		var group *cgroup.Group
		if group, err = cgroup.Make(append(slices.Clone(elem), execGroup)...); err == nil {
			err = group.Enter(pid)
		}
	}
	if err != nil && !errors.Is(err, cgroup.ErrNone) {
		return err
	}
	return errors.Join(cgroup.EnterLegacy(pid, elem...), cgroup.EnterDevices(pid, elem...))
}

// Limit changes the limits of the running instance whose Status.Cgroup is elem.
// Memory that was used before the first memory limit may not count (cgroup1).
func Limit(elem []string, limits cgroup.Limits) error {
	if err := cgroup.Limit(limits, elem...); err != nil {
		return err
	}
	// Groups that were just made are empty. Children born meanwhile are where
	// their parents were at that moment, so look again until nobody new is seen;
	// in a storm of forks those born last come from parents that are inside.
	seen := map[int]bool{}
	for fresh, round := true, 0; fresh && round < 20; round++ {
		fresh = false
		pids, err := cgroup.Open(elem...).Procs()
		if err != nil && !errors.Is(err, cgroup.ErrNone) {
			return err
		}
		for _, pid := range pids {
			if seen[pid] {
				continue
			}
			seen[pid], fresh = true, true
			if err := cgroup.EnterLegacy(pid, elem...); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// delegate gives a group to the root of an instance's user namespace, as its init
// may want to make groups below (cgroup-v2.rst, "Delegation"). Its limits are set
// above.
func delegate(group *cgroup.Group, uid int) error {
	for _, name := range []string{"", "/cgroup.procs", "/cgroup.threads", "/cgroup.subtree_control"} {
		if err := os.Chown(group.Path()+name, uid, uid); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("cannot delegate cgroup: %w", err)
		}
	}
	return nil
}

// dropSupervisors removes the shared group if it is empty. One that is in use
// stays, and one that a Launch is about to use is made again by it. A supervisor
// gives up its lock before it leaves the group (do_exit() closes the descriptors
// first), so the one that just ended is given a moment.
func dropSupervisors(elem []string, ended int) {
	if len(elem) == 0 {
		return
	}
	group := cgroup.Open(supervisorsOf(elem)...)
	if group.Path() == "" {
		return
	}
	for range 50 {
		if err := os.Remove(group.Path()); !errors.Is(err, unix.EBUSY) {
			return
		}
		if others, err := group.HasOther(ended); others || err != nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}
