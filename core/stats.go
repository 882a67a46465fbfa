// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
	"firmwared/core/supervisor"
)

// Stats is what an instance uses at a moment; the names in JSON are promised.
// What nobody knows, or is not, is null.
type Stats struct {
	ID    string    `json:"id"`
	Name  string    `json:"name"`
	State State     `json:"state"`
	Time  time.Time `json:"time"`
	// Memory comes from the cgroup, page cache included, or is the sum of the
	// processes' resident sets, where shared pages count for each.
	Memory       *int64   `json:"memory"`        // bytes
	MemoryPeak   *int64   `json:"memory_peak"`   // since the start
	MemoryMax    *int64   `json:"memory_max"`    // limit
	MemorySource string   `json:"memory_source"` // cgroup or processes, empty: not running
	CPUSeconds   *float64 `json:"cpu_seconds"`   // since the start
	CPUPercent   *float64 `json:"cpu_percent"`   // 100 is one CPU; since the sample before, or the start
	CPUMax       *float64 `json:"cpu_max"`       // limit, in CPUs
	Pids         *int64   `json:"pids"`          // processes and threads
	PidsMax      *int64   `json:"pids_max"`      // limit
	OOMKilled    int64    `json:"oom_killed"`
	RWBytes      *int64   `json:"rw_bytes"`   // on disk, as du counts
	RWInodes     *int64   `json:"rw_inodes"`  // files and directories
	RWPartial    bool     `json:"rw_partial"` // there is more: it is too much to be counted at once
	Uptime       *float64 `json:"uptime"`     // seconds
}

// Sampler takes Stats again and again. It belongs to one goroutine.
type Sampler struct {
	m    *Manager
	last map[string]*sample
}

// sample is what the next one of an instance is compared with.
type sample struct {
	start    uint64 // of the supervisor: tells a run from the next
	at, cpu  time.Duration
	percent  *float64
	layer    rwlayer.Usage
	layerErr error
	measured time.Time
	cost     time.Duration
}

// Sampler makes one.
func (m *Manager) Sampler() *Sampler { return &Sampler{m: m, last: map[string]*sample{}} }

const (
	// measureLimit is how long one rw layer may take to be counted, and
	// measureShare the part of the time that counting may take in all.
	measureLimit = 2 * time.Second
	measureShare = 20
)

// Sample looks at instances, several at once, and returns them in the same order.
func (s *Sampler) Sample(ctx context.Context, all []*registry.Instance) []Stats {
	stats := make([]Stats, len(all))
	for _, inst := range all {
		if s.last[inst.ID] == nil {
			s.last[inst.ID] = &sample{}
		}
	}
	_ = each(ctx, s.m, len(all), nil, func(i int) error {
		stats[i] = s.m.stats(all[i], s.last[all[i].ID])
		return nil
	})
	return stats
}

// stats compares with last and leaves there what the next is to be compared with.
func (m *Manager) stats(inst *registry.Instance, last *sample) Stats {
	info := m.Info(inst, "")
	s := Stats{ID: inst.ID, Name: inst.Name, State: info.State, Time: time.Now(), OOMKilled: info.OOMKilled}
	if time.Since(last.measured) > measureShare*last.cost {
		begin := time.Now()
		last.layer, last.layerErr = rwlayer.Measure(m.at.rw(inst.ID), measureLimit)
		last.measured, last.cost = time.Now(), time.Since(begin)
	}
	if last.layerErr == nil {
		s.RWBytes, s.RWInodes, s.RWPartial = &last.layer.Bytes, &last.layer.Inodes, last.layer.Partial
	}
	if st := m.status(inst.ID); st.Alive() && st.PIDStart > 0 {
		s.running(st, last)
	}
	return s
}

// running adds what only a running instance has.
func (s *Stats) running(st supervisor.Status, last *sample) {
	usage := cgroup.ReadUsage(st.Cgroup...)
	s.Memory, s.MemoryPeak, s.MemorySource, s.Pids, s.OOMKilled = usage.Memory, usage.MemoryPeak, "cgroup", usage.Pids, usage.OOMKills
	if usage.Memory == nil || usage.Pids == nil || usage.CPU == nil {
		s.fromProcesses(&usage, sumProcesses(st))
	}
	if l := usage.Limits; l != (cgroup.Limits{}) {
		s.MemoryMax, s.PidsMax = unlessZero(l.Memory), unlessZero(l.Pids)
		if l.CPUQuota > 0 {
			cpus := float64(l.CPUQuota) / float64(l.CPUPeriod)
			s.CPUMax = &cpus
		}
	}
	now, cpu := sinceBoot(), *usage.CPU
	begin := time.Duration(st.PIDStart) * clockTick
	uptime, seconds := (now - begin).Seconds(), cpu.Seconds()
	s.Uptime, s.CPUSeconds = &uptime, &seconds
	if last.start != st.PIDStart {
		last.start, last.at, last.cpu = st.PIDStart, begin, 0
	}
	if spent := now - last.at; spent >= clockTick {
		percent := 100 * max(0, (cpu-last.cpu).Seconds()) / spent.Seconds()
		last.percent = &percent
	}
	last.at, last.cpu = now, cpu
	s.CPUPercent = last.percent
}

// fromProcesses fills in what the kernel does not count for a group.
func (s *Stats) fromProcesses(usage *cgroup.Usage, sums processSums) {
	if usage.Memory == nil {
		s.Memory, s.MemorySource = &sums.memory, "processes"
	}
	if usage.Pids == nil {
		s.Pids = &sums.threads
	}
	if usage.CPU == nil {
		usage.CPU = &sums.cpu
	}
}

func unlessZero(n int64) *int64 {
	if n == 0 {
		return nil
	}
	return &n
}

// sinceBoot counts as /proc does for the start of processes.
func sinceBoot() time.Duration {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now) // fails for an unknown clock only
	return time.Duration(now.Nano())
}
