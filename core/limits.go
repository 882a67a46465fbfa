// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"firmwared/core/cgroup"
	"firmwared/core/config"
	"firmwared/core/registry"
	"firmwared/core/supervisor"
)

// limitKeys are the properties that limitsOf reads.
var limitKeys = []string{"memory_max", "cpu_max", "pids_max"}

// limitsOf reads the limits among an instance's properties.
func limitsOf(props map[string][]string) (l cgroup.Limits, err error) {
	for _, key := range limitKeys {
		if len(props[key]) == 0 {
			continue
		}
		switch word := props[key][0]; key {
		case "memory_max":
			l.Memory, err = parseMemory(word)
		case "cpu_max":
			l.CPUQuota, l.CPUPeriod, err = parseCPU(word)
		case "pids_max":
			l.Pids, err = parsePids(word)
		}
		if err != nil {
			return l, fmt.Errorf("property %s: %w", key, err)
		}
	}
	return l, nil
}

// limitRunning gives an instance the limits of its properties now, if it runs.
func (m *Manager) limitRunning(inst *registry.Instance) error {
	st := m.status(inst.ID)
	if !st.Alive() {
		return nil
	}
	limits, err := limitsOf(m.properties(inst))
	if err != nil {
		return err
	}
	return supervisor.Limit(st.Cgroup, limits)
}

// minMemory is less than any program needs; below it only a slip of the unit is
// likely.
const minMemory = 64 << 10

// minLog keeps a rotation worth its while.
const minLog = 64 << 10

func parseMemory(word string) (int64, error) {
	n, err := config.ParseSize(word)
	if err == nil && n < minMemory {
		err = fmt.Errorf("%q is less than 64K", word)
	}
	return n, err
}

func parseLogMax(word string) (int64, error) {
	n, err := config.ParseSize(word)
	if err == nil && (n < minLog || n > 1<<40) {
		err = fmt.Errorf("%q is not between 64K and 1024G", word)
	}
	return n, err
}

// logMax is how large an instance's log may become.
func (m *Manager) logMax(props map[string][]string) int64 {
	if words := props["log_max"]; len(words) > 0 {
		if n, err := parseLogMax(words[0]); err == nil { // checked when it was set
			return n
		}
	}
	return m.cfg.LogMax
}

func parsePids(word string) (int64, error) {
	n, err := strconv.ParseInt(word, 10, 32)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is no number of processes, from 1 up", word)
	}
	return n, nil
}

// What the kernel takes, in microseconds (max_cfs_quota_period,
// min_cfs_quota_period in kernel/sched/core.c).
const (
	cpuPeriod    = 100_000
	minCPUTime   = 1_000
	maxCPUPeriod = 1_000_000
	maxCPUs      = 8192
)

func checkCPU(word string) error {
	_, _, err := parseCPU(word)
	return err
}

// parseCPU reads a number of CPUs, or QUOTA/PERIOD in microseconds.
func parseCPU(word string) (quota, period int64, err error) {
	if first, second, ok := strings.Cut(word, "/"); ok {
		quota, err = strconv.ParseInt(first, 10, 64)
		if err == nil {
			period, err = strconv.ParseInt(second, 10, 64)
		}
	} else {
		var cpus float64
		cpus, err = strconv.ParseFloat(word, 64)
		quota, period = int64(math.Round(cpus*cpuPeriod)), cpuPeriod
		if cpus > maxCPUs || math.IsNaN(cpus) {
			err = strconv.ErrRange
		}
	}
	if err != nil || quota < minCPUTime || period < minCPUTime || period > maxCPUPeriod || quota/period > maxCPUs {
		return 0, 0, fmt.Errorf("%q is neither a number of CPUs from 0.01 up, as 0.5, nor microseconds per period, as 50000/100000", word)
	}
	return quota, period, nil
}

// showSize writes bytes as a person would have set them.
func showSize(n int64) string {
	for _, unit := range []struct {
		name  string
		bytes int64
	}{{"G", 1 << 30}, {"M", 1 << 20}, {"K", 1 << 10}} {
		if n >= unit.bytes && n%unit.bytes == 0 {
			return fmt.Sprintf("%d%s", n/unit.bytes, unit.name)
		}
	}
	return fmt.Sprint(n)
}
