// SPDX-License-Identifier: Apache-2.0

package treecopy

import "testing"

func TestIDs(t *testing.T) {
	plain, mapped := Tree{}, Tree{First: 100000, Count: 65536}
	for _, id := range []int{0, 5, 65534, 4000000} {
		if plain.inside(id) != id || plain.outside(id) != id {
			t.Errorf("%d changes without a map", id)
		}
	}
	for out, in := range map[int]int{100000: 0, 101000: 1000, 165535: 65535} {
		if mapped.inside(out) != in || mapped.outside(in) != out {
			t.Errorf("%d is %d, %d is %d", out, mapped.inside(out), in, mapped.outside(in))
		}
	}
	for _, out := range []int{0, 99999, 165536} {
		if in := mapped.inside(out); in != nobody {
			t.Errorf("%d is %d", out, in)
		}
	}
	for _, in := range []int{-1, 65536, 1 << 30} {
		if out := mapped.outside(in); out != 100000+nobody {
			t.Errorf("%d is %d outside", in, out)
		}
	}
}
