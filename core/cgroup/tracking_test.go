// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"slices"
	"testing"
)

func TestTracking(t *testing.T) {
	own := "9:name=systemd:/user.slice/a:b\n8:pids:/user.slice\n3:name=other:/\n2:name=../x:/y\n1:name=elogind:/4\n0::/user.slice\n"
	if got := tracking(own); !slices.Equal(got, []string{"systemd", "elogind"}) {
		t.Errorf("got %q", got)
	}
	if got := tracking("junk\n0::/\n"); got != nil {
		t.Errorf("got %q of nothing", got)
	}
}

func FuzzTracking(f *testing.F) {
	f.Add("9:name=systemd:/user.slice\n0::/\n")
	f.Fuzz(func(t *testing.T, own string) {
		for _, name := range tracking(own) {
			if !ValidName(name) {
				t.Errorf("%q is no directory's name", name)
			}
		}
	})
}
