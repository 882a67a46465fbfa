// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// Below lists the mount points at and under dir in the caller's namespace,
// deepest first: the order in which they can be unmounted.
func Below(dir string) ([]string, error) {
	infos, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	var points []string
	for _, info := range infos {
		points = append(points, info.Mountpoint)
	}
	sort.Slice(points, func(i, j int) bool { return len(points[i]) > len(points[j]) })
	return points, nil
}

// Source is what the mount that path lies on was made of, as the mount table says
// it: a device, or the label that its maker chose. It reads the whole table.
func Source(path string) (string, error) {
	infos, err := mountinfo.GetMounts(mountinfo.ParentsFilter(path))
	if err != nil {
		return "", fmt.Errorf("cannot read the mount table: %w", err)
	}
	var on *mountinfo.Info
	for _, info := range infos { // of several at one place the last is on top
		if on == nil || len(info.Mountpoint) >= len(on.Mountpoint) {
			on = info
		}
	}
	if on == nil {
		return "", fmt.Errorf("cannot find the mount of %q", path)
	}
	return on.Source, nil
}

// Holder is a process that keeps a mount busy.
type Holder struct {
	PID  int
	Name string
}

func (h Holder) String() string { return fmt.Sprintf("%s (pid %d)", h.Name, h.PID) }

// Holders finds the processes with their working directory, root, program or an
// open file at or under point. It reads all of /proc, so it belongs on error
// paths only; what it may not read it does not report.
func Holders(point string) []Holder {
	var found []Holder
	procs, _ := filepath.Glob("/proc/[0-9]*")
	for _, proc := range procs {
		pid, err := strconv.Atoi(filepath.Base(proc))
		if err != nil || pid == os.Getpid() || !holds(proc, point) {
			continue
		}
		name, _ := os.ReadFile(filepath.Join(proc, "comm"))
		found = append(found, Holder{pid, strings.TrimSpace(string(name))})
	}
	return found
}

func holds(proc, point string) bool {
	links := []string{"cwd", "root", "exe"}
	if fds, err := os.ReadDir(filepath.Join(proc, "fd")); err == nil {
		for _, fd := range fds {
			links = append(links, "fd/"+fd.Name())
		}
	}
	for _, link := range links {
		target, err := os.Readlink(filepath.Join(proc, link))
		if err == nil && (target == point || strings.HasPrefix(target, point+"/")) {
			return true
		}
	}
	return false
}

// Points counts the mounts at every mount point that a process sees, given as its directory in /proc.
func Points(proc string) (map[string]int, error) {
	table, err := os.Open(filepath.Join(proc, "mountinfo"))
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table: %w", err)
	}
	defer table.Close()
	infos, err := mountinfo.GetMountsFromReader(table, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot read the mount table of %s: %w", proc, err)
	}
	points := map[string]int{}
	for _, info := range infos {
		points[info.Mountpoint]++
	}
	return points, nil
}
