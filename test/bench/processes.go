// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

type process struct {
	pid, parent int
	name        string
	inside      bool // of another pid namespace than this process
}

// descendants of this process that live. As it is a subreaper, all that a
// command started and left is among them. By pid.
func descendants() (list []process) {
	all := map[int]process{}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	own, _ := os.Readlink("/proc/self/ns/pid")
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir))
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it ended
		}
		open, end := strings.IndexByte(string(stat), '('), strings.LastIndexByte(string(stat), ')')
		words := strings.Fields(string(stat[end+1:]))
		if words[0] == "Z" || words[0] == "X" {
			continue
		}
		parent, _ := strconv.Atoi(words[1])
		space, err := os.Readlink(dir + "/ns/pid")
		all[pid] = process{pid, parent, string(stat[open+1 : end]), err == nil && space != own}
	}
	for pid, p := range all {
		for at := p.parent; at > 1; at = all[at].parent {
			if at == os.Getpid() {
				list = append(list, all[pid])
				break
			}
		}
	}
	slices.SortFunc(list, func(a, b process) int { return a.pid - b.pid })
	return list
}

// children are the pids of this process's own, adopted ones among them; never nil.
func children() []int {
	pids := []int{}
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, file := range files {
		data, _ := os.ReadFile(file) // the thread is gone: it has none
		for _, word := range strings.Fields(string(data)) {
			pid, _ := strconv.Atoi(word)
			pids = append(pids, pid)
		}
	}
	return pids
}

// supervisors are the descendants that are not payloads: those that stay in
// this pid namespace. A payload that has none is told by its name.
func supervisors() (list []process) {
	for _, p := range descendants() {
		if !p.inside && p.name != "sleep" && p.name != "busybox" {
			list = append(list, p)
		}
	}
	return list
}

func payloads() (count int) {
	for _, p := range descendants() {
		if p.inside || p.name == "sleep" {
			count++
		}
	}
	return count
}

// pss is the proportional share of memory of processes, in KiB.
func pss(list []process) (total float64) {
	for _, p := range list {
		kib, _, _ := strings.Cut(lineValue(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid), "Pss"), " ")
		value, _ := strconv.ParseFloat(kib, 64)
		total += value
	}
	return total
}

// census is names and how many of each.
func census(list []process) string {
	counts := map[string]int{}
	var names []string
	for _, p := range list {
		if counts[p.name]++; counts[p.name] == 1 {
			names = append(names, p.name)
		}
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%s x%d", name, counts[name])
	}
	return strings.Join(names, ", ")
}
