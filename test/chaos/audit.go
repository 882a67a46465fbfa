// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// shown is what `list --json` tells of an instance.
type shown struct {
	ID, Name, State string
	PID             *int
}

// audit looks at everything when nobody works or kills any more.
func (r *run) audit() {
	r.must("firmware", "add", r.trees[0], "--name", "e0") // a command that mends
	r.must("gc")
	if again := r.must("gc"); again != "" {
		r.problem("a second gc: %s", again)
	}
	instances := r.truth()
	byName := map[string]shown{}
	for _, inst := range instances {
		byName[inst.Name] = inst
	}
	if len(byName) != len(instances) {
		r.problem("two instances have one name: %v", instances)
	}
	for _, s := range r.slots {
		r.look(s)
		if inst, ok := byName[s.name]; ok != (s.id != "") || ok && inst.ID != s.id {
			r.problem("list and get disagree on %s: %v, %q", s.name, inst, s.id)
		}
		if s.id != "" && byName[s.name].State != "started" {
			r.must("start", s.name, "--", "/bin/sleep", "1000")
		}
		delete(byName, s.name)
	}
	if len(byName) > 0 {
		r.problem("nobody made %v", byName)
	}
	for _, inst := range r.truth() {
		if inst.State != "started" {
			r.problem("%s is %s after its start", inst.Name, inst.State)
		}
	}
	r.must("kill", "--all")
	for _, s := range r.slots {
		r.look(s)
	}
	r.must("drop", "--all")
	var firmwares []shown
	_ = json.Unmarshal([]byte(r.must("firmware", "list", "--json")), &firmwares)
	for _, fw := range firmwares {
		r.must("firmware", "remove", fw.ID)
	}
	if list := strings.TrimSpace(r.must("list", "--json") + r.must("firmware", "list", "--json")); list != "[]\n[]" {
		r.problem("not everything could be removed: %s", list)
	}
	r.must("gc")
	if mounts := r.mounts(""); len(mounts) > 0 {
		r.problem("still mounted: %v", mounts)
	}
	if group := r.group(); group != "" {
		r.problem("cgroup left, with processes %v: %s", procs(group), group)
	}
	for _, dir := range []string{"workspaces", "lowers", "instances", "firmwares", "run/pending", "run/instances", "run/lowers"} {
		if entries, _ := os.ReadDir(filepath.Join(r.root, dir)); len(entries) > 0 {
			r.problem("left in %s: %v", dir, entries)
		}
	}
}

// truth lists the instances and compares that with mounts and processes.
func (r *run) truth() (all []shown) {
	if err := json.Unmarshal([]byte(r.must("list", "--json")), &all); err != nil {
		r.problem("list --json: %v", err)
	}
	unions := map[string]int{}
	for _, point := range r.mounts("/union") {
		unions[filepath.Base(filepath.Dir(point))]++
	}
	for _, inst := range all {
		mounted := unions[inst.ID]
		delete(unions, inst.ID)
		want := 1
		if inst.State == "unmounted" {
			want = 0
		}
		if mounted != want {
			r.problem("%s is %s and has %d unions mounted", inst.Name, inst.State, mounted)
		}
		if (inst.State == "started") != (inst.PID != nil) {
			r.problem("%s is %s and has pid %v", inst.Name, inst.State, inst.PID)
		}
		if inst.PID != nil && !exists("/proc/"+strconv.Itoa(*inst.PID)) {
			r.problem("%s has a pid that is not there: %d", inst.Name, *inst.PID)
		}
	}
	if len(unions) > 0 {
		r.problem("unions of no instance: %v", unions)
	}
	return all
}

// mounts lists the mount points below the root with this ending.
func (r *run) mounts(suffix string) (points []string) {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(table)) {
		if words := strings.Fields(line); strings.HasPrefix(words[4], r.root) && strings.HasSuffix(words[4], suffix) {
			points = append(points, words[4])
		}
	}
	return points
}
