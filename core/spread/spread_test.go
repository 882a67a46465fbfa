// SPDX-License-Identifier: Apache-2.0

package spread

import (
	"runtime"
	"sync/atomic"
	"testing"
)

func TestOverDoesEachOnce(t *testing.T) {
	for _, processors := range []int{1, 2, 8} {
		defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(processors))
		for _, count := range []int{0, 1, worth - 1, worth, worth + 1, 50 * worth} {
			done := make([]atomic.Int32, count)
			Over(count, func(i int) { done[i].Add(1) })
			for i := range done {
				if times := done[i].Load(); times != 1 {
					t.Errorf("%d processors: piece %d of %d was done %d times", processors, i, count, times)
				}
			}
		}
	}
}
