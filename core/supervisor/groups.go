// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"os"
	"slices"

	"firmwared/core/cgroup"
)

const (
	payloadGroup     = "payload"
	supervisorsGroup = "supervisors"
)

// supervisorsOf is the group that the supervisors of an instance and of its
// neighbours share. One of their own would cost each 7 to 16 ms at its end: a
// process cannot remove the group it is in, and moving out waits for an RCU
// grace period (cgroup_attach_lock).
func supervisorsOf(elem []string) []string {
	return append(slices.Clone(elem[:len(elem)-1]), supervisorsGroup)
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
		return nil
	}
	if err == nil && populated {
		err = errors.Join(group.Kill(), group.WaitEmpty(ctx))
	}
	return errors.Join(err, group.Remove())
}

// dropSupervisors removes the shared group if it is empty. One that is in use
// stays, and one that a Launch is about to use is made again by it.
func dropSupervisors(elem []string) {
	if len(elem) == 0 {
		return
	}
	if path := cgroup.Open(supervisorsOf(elem)...).Path(); path != "" {
		_ = os.Remove(path)
	}
}
