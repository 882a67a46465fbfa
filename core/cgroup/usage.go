// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Usage is what the kernel counts of a group with all below it; nil where it
// does not count.
type Usage struct {
	Memory     *int64 // bytes, page cache included
	MemoryPeak *int64
	CPU        *time.Duration
	Pids       *int64 // processes and threads
	OOMKills   int64  // processes that the kernel ended because Limits.Memory was reached
	Limits     Limits // in force
}

// ReadUsage never fails: what cannot be read is not counted.
func ReadUsage(elem ...string) Usage {
	var u Usage
	if h, err := hierarchyOf("memory"); err == nil {
		u.readMemory(h, h.dir(elem))
	}
	if h, err := hierarchyOf("cpu"); err == nil {
		u.readCPULimit(h, h.dir(elem))
	}
	// cgroup2 counts CPU time with or without the controller (cgroup-v2.rst, cpu.stat).
	if base, err := Root(); err == nil {
		if usec, ok := keyed(hierarchy{base, true}.dir(elem)+"/cpu.stat", "usage_usec"); ok {
			cpu := time.Duration(usec) * time.Microsecond
			u.CPU = &cpu
		}
	}
	if h, err := hierarchyOf("pids"); err == nil {
		u.Pids = single(h.dir(elem) + "/pids.current")
		u.Limits.Pids = limit(single(h.dir(elem) + "/pids.max"))
	}
	return u
}

func (u *Usage) readMemory(h hierarchy, dir string) {
	current, peak, most, events := "memory.current", "memory.peak", "memory.max", "memory.events"
	if !h.unified {
		current, peak, most, events = "memory.usage_in_bytes", "memory.max_usage_in_bytes", "memory.limit_in_bytes", "memory.oom_control"
	}
	u.Memory, u.MemoryPeak = single(filepath.Join(dir, current)), single(filepath.Join(dir, peak))
	u.Limits.Memory = limit(single(filepath.Join(dir, most)))
	u.OOMKills, _ = keyed(filepath.Join(dir, events), "oom_kill")
}

func (u *Usage) readCPULimit(h hierarchy, dir string) {
	var quota, period int64
	if h.unified {
		data, _ := os.ReadFile(filepath.Join(dir, "cpu.max"))
		quota, period = parseCPUMax(string(data))
	} else if q, p := single(dir+"/cpu.cfs_quota_us"), single(dir+"/cpu.cfs_period_us"); q != nil && p != nil {
		quota, period = *q, *p
	}
	if quota > 0 {
		u.Limits.CPUQuota, u.Limits.CPUPeriod = quota, period
	}
}

// parseCPUMax gives 0 for "max".
func parseCPUMax(text string) (quota, period int64) {
	first, second, _ := strings.Cut(strings.TrimSpace(text), " ")
	quota, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, 0
	}
	period, _ = strconv.ParseInt(second, 10, 64)
	return quota, period
}

// single reads a file of one number; nil for "max" and for no such file.
func single(path string) *int64 {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// limit: cgroup1 says "none" as the largest number of whole pages.
func limit(n *int64) int64 {
	if n == nil || *n >= math.MaxInt64-1<<20 {
		return 0
	}
	return *n
}

// keyed reads one line "KEY NUMBER" of a file.
func keyed(path, key string) (int64, bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, false
	}
	return parseKeyed(string(data), key)
}

func parseKeyed(text, key string) (int64, bool) {
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, key+" "); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}
