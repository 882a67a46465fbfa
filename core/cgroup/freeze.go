// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoFreezer is what Freeze returns on a machine that has no cgroup2, or whose cgroup2 cannot freeze (before
// Linux 5.2).
var ErrNoFreezer = errors.New("this kernel cannot freeze a cgroup")

// Freeze stops every process of the group and of the groups below, and returns when none of them runs any more. They
// can be killed meanwhile. After an error the group is not left frozen.
func (g *Group) Freeze(ctx context.Context) error {
	if g.dir == "" {
		return ErrNoFreezer
	}
	err := writeFile(g.dir+"/cgroup.freeze", "1")
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNoFreezer
	}
	if err == nil {
		err = g.waitFrozen(ctx)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("cannot freeze cgroup: %w", err), g.Thaw())
	}
	return nil
}

// waitFrozen polls: the kernel tells of it as of a group's end, at most once per 10 ms, and it takes microseconds.
func (g *Group) waitFrozen(ctx context.Context) error {
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		state, err := os.ReadFile(g.dir + "/cgroup.events")
		if err != nil {
			return err
		}
		if strings.Contains(string(state), "frozen 1") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("a process in it does not stop: %w", context.Cause(ctx))
		case <-time.After(pause):
		}
	}
}

// Thaw lets a frozen group go on. One that is not frozen, or does not exist, is a success.
func (g *Group) Thaw() error {
	if g.dir == "" {
		return ErrNoFreezer
	}
	err := writeFile(g.dir+"/cgroup.freeze", "0")
	if err == nil || errors.Is(err, unix.ENODEV) {
		return nil
	}
	if _, missing := os.Stat(g.dir); gone(err) && missing == nil {
		return ErrNoFreezer
	} else if gone(err) {
		return nil
	}
	return fmt.Errorf("cannot thaw cgroup: %w", err)
}
