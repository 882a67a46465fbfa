// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// traceVariable shows where a command's time goes: a line on stderr for each step
// that it gets to, with the milliseconds since it began and since the step before.
// A number above 1 is when it began, as date +%s.%N prints it, so that the exec is
// counted. Processes that the command starts get no such variable.
const traceVariable = "FIRMWARED_TRACE"

var tracing struct {
	on          bool
	mutex       sync.Mutex
	begun, last time.Time
}

func init() {
	value := os.Getenv(traceVariable)
	if value == "" || value == "0" {
		return
	}
	tracing.on, tracing.begun = true, time.Now()
	if at, err := strconv.ParseFloat(value, 64); err == nil && at > 1 {
		tracing.begun = time.Unix(0, int64(at*1e9))
	}
	tracing.last = tracing.begun
	Trace("main")
}

// Trace is a step of which only the time is of interest.
func Trace(name string) {
	if !tracing.on {
		return
	}
	tracing.mutex.Lock()
	defer tracing.mutex.Unlock()
	now := time.Now()
	ms := func(since time.Time) float64 { return float64(now.Sub(since).Microseconds()) / 1000 }
	fmt.Fprintf(os.Stderr, "firmwared: trace %8.2f ms %+7.2f  %s\n", ms(tracing.begun), ms(tracing.last), name)
	tracing.last = now
}
