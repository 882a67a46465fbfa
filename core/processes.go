// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"firmwared/core/cgroup"
	"firmwared/core/supervisor"
)

// processSums is what the processes that live now add up to: pages that they
// share count for each, and CPU time of those that nobody has waited for is
// missing.
type processSums struct {
	memory, threads int64
	cpu             time.Duration
}

// clockTick is what /proc counts CPU time in (USER_HZ, 100 on all architectures
// that Go knows).
const clockTick = 10 * time.Millisecond

// sumProcesses looks at the processes of an instance one by one.
func sumProcesses(st supervisor.Status) (sums processSums) {
	for _, pid := range processesOf(st) {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			continue // it ended
		}
		if one, ok := parseProcess(data); ok {
			sums.memory += one.memory
			sums.threads += one.threads
			sums.cpu += one.cpu
		}
	}
	return sums
}

// processesOf are the processes in the instance's group or, on a machine without
// cgroup2, in the pid namespace of its pid 1.
func processesOf(st supervisor.Status) (pids []int) {
	if pids, err := cgroup.Open(st.Cgroup...).Procs(); err == nil {
		return pids
	}
	namespace, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", st.PID))
	if err != nil {
		return nil
	}
	links, _ := filepath.Glob("/proc/[0-9]*/ns/pid")
	for _, link := range links {
		if other, err := os.Readlink(link); err == nil && other == namespace {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link))))
			pids = append(pids, pid)
		}
	}
	return pids
}

// parseProcess reads a line of /proc/PID/stat (proc_pid_stat(5)). The second field
// is the program's name, which may hold anything.
func parseProcess(stat []byte) (p processSums, ok bool) {
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	field := func(n int) int64 { // numbered as in the manual
		if n-3 >= len(fields) {
			return -1
		}
		v, err := strconv.ParseInt(string(fields[n-3]), 10, 64)
		if err != nil {
			return -1
		}
		return v
	}
	ticks := int64(0)
	for n := 14; n <= 17; n++ { // utime, stime, and those of children that were waited for
		ticks += max(0, field(n))
	}
	p = processSums{memory: field(24) * int64(os.Getpagesize()), threads: field(20), cpu: time.Duration(ticks) * clockTick}
	return p, p.memory >= 0 && p.threads >= 0
}
