// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strings"
	"syscall"
	"testing"

	"firmwared/core/cgroup"
	"firmwared/core/sandbox"
	"firmwared/core/supervisor"
)

func TestParseSignal(t *testing.T) {
	for text, want := range map[string]syscall.Signal{"TERM": 15, "sigterm": 15, "9": 9, "RTMIN+4": 38, "SIGRTMIN": 34, "USR1": 10} {
		if got, err := ParseSignal(text); err != nil || got != want {
			t.Errorf("ParseSignal(%q) = %d, %v; want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "0", "65", "-1", "NOSUCH", "RTMIN+99", "RTMIN-1"} {
		if got, err := ParseSignal(text); err == nil {
			t.Errorf("ParseSignal(%q) = %d", text, got)
		}
	}
}

func TestLimitsOf(t *testing.T) {
	for text, want := range map[string]cgroup.Limits{
		"":                                {},
		"memory_max=64M":                  {Memory: 64 << 20},
		"memory_max=65536":                {Memory: 64 << 10},
		"memory_max=8G":                   {Memory: 8 << 30},
		"cpu_max=0.5":                     {CPUQuota: 50_000, CPUPeriod: 100_000},
		"cpu_max=2":                       {CPUQuota: 200_000, CPUPeriod: 100_000},
		"cpu_max=0.01":                    {CPUQuota: 1_000, CPUPeriod: 100_000},
		"cpu_max=20000/40000":             {CPUQuota: 20_000, CPUPeriod: 40_000},
		"pids_max=1":                      {Pids: 1},
		"memory_max=1GiB pids_max=7 x=no": {Memory: 1 << 30, Pids: 7},
	} {
		props, err := parseProperties(strings.Fields(text))
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if got, err := limitsOf(props); err != nil || got != want {
			t.Errorf("%q gave %+v, %v; want %+v", text, got, err, want)
		}
	}
	for _, text := range []string{"memory_max=1K", "memory_max=-1", "memory_max=9999999999G", "memory_max=1.5G", "memory_max=max",
		"cpu_max=0", "cpu_max=0.001", "cpu_max=-1", "cpu_max=NaN", "cpu_max=Inf", "cpu_max=1/2", "cpu_max=1000/9999999", "cpu_max=1000/",
		"cpu_max=9223372036854775807/1000", "pids_max=0", "pids_max=many", "log_max=1K", "log_max=9999G", "stop_signal=NOSUCH"} {
		if _, _, err := parseProperty(text); err == nil {
			t.Errorf("%q was accepted", text)
		}
	}
}

func FuzzLimits(f *testing.F) {
	f.Add("0.5", "64M")
	f.Add("50000/100000", "1024")
	f.Fuzz(func(t *testing.T, cpu, memory string) {
		if quota, period, err := parseCPU(cpu); err == nil && (quota < minCPUTime || period < minCPUTime || period > maxCPUPeriod) {
			t.Errorf("parseCPU(%q) = %d, %d", cpu, quota, period)
		}
		if n, err := parseMemory(memory); err == nil && n < minMemory {
			t.Errorf("parseMemory(%q) = %d", memory, n)
		}
	})
}

func TestExitReason(t *testing.T) {
	for want, e := range map[string]supervisor.Exit{
		"exited with status 3":      {Exit: sandbox.Exit{Code: 3, Reason: sandbox.ReasonExited}},
		"killed by SIGTERM":         {Exit: sandbox.Exit{Signal: 15, Reason: sandbox.ReasonSignal}},
		"supervisor died":           {Exit: sandbox.Exit{Signal: 9, Reason: supervisor.ReasonLost}},
		"out of memory (limit 64M)": {Exit: sandbox.Exit{Signal: 9, Reason: supervisor.ReasonOutOfMemory}, OOMKilled: 2, MemoryMax: 64 << 20},
		"exited with status 1; 2 killed before: out of memory (limit 100000)": {
			Exit: sandbox.Exit{Code: 1, Reason: sandbox.ReasonExited}, OOMKilled: 2, MemoryMax: 100000},
	} {
		if got := exitReason(e); got != want {
			t.Errorf("%+v: %q; want %q", e, got, want)
		}
	}
}
