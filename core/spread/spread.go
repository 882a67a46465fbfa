// SPDX-License-Identifier: Apache-2.0

// Package spread has the processors share many small pieces of work.
package spread

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// worth is how many pieces, each some system calls, are worth a thread of their own.
const worth = 20

// Over calls do with each number below count and returns when all are done. Several
// calls may be under way at once.
func Over(count int, do func(i int)) {
	var next atomic.Int64
	work := func() {
		for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	var others sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), 1+count/worth) - 1 {
		others.Add(1)
		go func() {
			defer others.Done()
			work()
		}()
	}
	work()
	others.Wait()
}
