// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"os"
	"strings"
)

// LeaveTracking moves the process to the root of the cgroup1 hierarchies that only track processes and limit nothing
// (name=systemd, where cgroup1 is used): what ends a login session or a job by its group there does not end it then.
// Hierarchies with a controller stay: who limits the caller limits what it starts. It does nothing where the process
// is at the root, which is everywhere that cgroup2 is used alone; a move that fails changes nothing.
func LeaveTracking() {
	own, _ := os.ReadFile("/proc/self/cgroup")
	for _, name := range tracking(string(own)) {
		_ = os.WriteFile("/sys/fs/cgroup/"+name+"/cgroup.procs", []byte("0"), 0)
	}
}

// tracking names the hierarchies without a controller in which the process is below the root (cgroups(7)).
func tracking(own string) (names []string) {
	for line := range strings.Lines(own) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(fields) < 3 || fields[2] == "/" {
			continue
		}
		if name, ok := strings.CutPrefix(fields[1], "name="); ok && ValidName(name) {
			names = append(names, name)
		}
	}
	return names
}
