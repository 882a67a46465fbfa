// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"context"
	"errors"
	"testing"
)

func TestFreezeWithoutCgroup2(t *testing.T) {
	none := &Group{}
	if err := none.Freeze(context.Background()); !errors.Is(err, ErrNoFreezer) {
		t.Errorf("Freeze: %v", err)
	}
	if err := none.Thaw(); !errors.Is(err, ErrNoFreezer) {
		t.Errorf("Thaw: %v", err)
	}
	if err := Open("firmwared-no-such-group").Thaw(); err != nil {
		t.Errorf("Thaw of a group that is gone: %v", err)
	}
}
