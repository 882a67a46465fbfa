// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Limits bound what all processes of a group use together; 0 is no limit.
type Limits struct {
	Memory    int64 `json:"memory_max,omitempty"` // bytes, memory and swap together
	CPUQuota  int64 `json:"cpu_quota,omitempty"`  // microseconds of CPU time in each period
	CPUPeriod int64 `json:"cpu_period,omitempty"` // microseconds
	Pids      int64 `json:"pids_max,omitempty"`   // processes and threads
}

// knob is a control file and what to write into it. An optional one is missing
// where the kernel counts no swap.
type knob struct {
	file, value string
	optional    bool
}

// controller knows one kind of limit in both interfaces: cgroup2 as described in
// Documentation/admin-guide/cgroup-v2.rst, cgroup1 as in cgroup-v1/memory.rst,
// cgroup-v1/pids.rst and scheduler/sched-bwc.rst.
type controller struct {
	name        string
	wanted      func(Limits) bool
	unified, v1 func(Limits) []knob
}

var controllers = []controller{
	{
		name:   "memory",
		wanted: func(l Limits) bool { return l.Memory > 0 },
		unified: func(l Limits) []knob {
			if l.Memory > 0 {
				return []knob{{file: "memory.max", value: number(l.Memory)}, {"memory.swap.max", "0", true}}
			}
			return []knob{{file: "memory.max", value: "max"}, {"memory.swap.max", "max", true}}
		},
		v1: func(l Limits) []knob {
			bytes := orMinusOne(l.Memory)
			return []knob{{file: "memory.limit_in_bytes", value: bytes}, {"memory.memsw.limit_in_bytes", bytes, true}}
		},
	},
	{
		name:   "cpu",
		wanted: func(l Limits) bool { return l.CPUQuota > 0 },
		unified: func(l Limits) []knob {
			if l.CPUQuota > 0 {
				return []knob{{file: "cpu.max", value: number(l.CPUQuota) + " " + number(l.CPUPeriod)}}
			}
			return []knob{{file: "cpu.max", value: "max"}}
		},
		v1: func(l Limits) []knob {
			knobs := []knob{{file: "cpu.cfs_quota_us", value: orMinusOne(l.CPUQuota)}}
			if l.CPUQuota > 0 {
				knobs = append(knobs, knob{file: "cpu.cfs_period_us", value: number(l.CPUPeriod)})
			}
			return knobs
		},
	},
	{
		name:    "pids",
		wanted:  func(l Limits) bool { return l.Pids > 0 },
		unified: func(l Limits) []knob { return []knob{{file: "pids.max", value: orMax(l.Pids)}} },
		v1:      func(l Limits) []knob { return []knob{{file: "pids.max", value: orMax(l.Pids)}} },
	},
}

func number(n int64) string { return strconv.FormatInt(n, 10) }

func orMax(n int64) string {
	if n > 0 {
		return number(n)
	}
	return "max"
}

func orMinusOne(n int64) string {
	if n > 0 {
		return number(n)
	}
	return "-1"
}

func (c controller) knobs(l Limits, unified bool) []knob {
	if unified {
		return c.unified(l)
	}
	return c.v1(l)
}

// Limit makes the group elem in every hierarchy that l needs, bounds it, and
// lifts what l does not bound. It may be called again with other limits: they
// hold at once, but processes that were there before must Enter.
//
// A limit that this machine cannot set is an error that names the controller.
// After an error RemoveLegacy takes away what was made.
func Limit(l Limits, elem ...string) error {
	for _, name := range elem {
		if !ValidName(name) {
			return fmt.Errorf("cannot limit cgroup: bad name %q", name)
		}
	}
	for _, c := range controllers {
		if err := c.limit(l, elem); err != nil {
			return fmt.Errorf("cannot set %s limit: %w", c.name, err)
		}
	}
	return nil
}

func (c controller) limit(l Limits, elem []string) error {
	h, err := hierarchyOf(c.name)
	if err != nil {
		if c.wanted(l) {
			return err
		}
		return nil
	}
	dir, knobs := h.dir(elem), c.knobs(l, h.unified)
	if !c.wanted(l) {
		if _, err := os.Stat(filepath.Join(dir, knobs[0].file)); err != nil {
			return nil // never was bounded
		}
	} else if err := h.make(c.name, elem); err != nil {
		return err
	}
	err = write(dir, knobs)
	if errors.Is(err, unix.EINVAL) {
		// Each of a pair is checked against the other's old value, so one order is
		// right to tighten and the other to relax.
		slices.Reverse(knobs)
		err = write(dir, knobs)
	}
	if errors.Is(err, unix.EBUSY) {
		return errors.New("the processes use more than that now")
	}
	return err
}

func write(dir string, knobs []knob) error {
	for _, k := range knobs {
		err := writeFile(filepath.Join(dir, k.file), k.value)
		if k.optional && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("this kernel has no %s", k.file)
		}
		if err != nil {
			return fmt.Errorf("cannot write %s to %s: %w", k.value, k.file, err)
		}
	}
	return nil
}

// writeFile never makes the file, and gives the bare errno with its path.
func writeFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}
