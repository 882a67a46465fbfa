// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/mount"
)

// watchedDirs are where a hook that writes where it must not is likely to. For the time of the run each is covered by
// an overlay of itself: its upper shows what was written, and nothing of that reaches the machine. One that no overlay
// can cover is not watched.
var watchedDirs = []string{"/tmp", "/var/tmp", "/etc", "/mnt", "/root", "/var/lib", "/var/cache"}

// watch runs f and says what it changed outside of the run's directory: files in watchedDirs, and mounts anywhere.
func (k *kit) watch(f func() error) error {
	points, err := mount.Points("/proc/self")
	if err != nil {
		return err
	}
	files, err := k.written()
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	if err := k.newMounts(points); err != nil {
		return err
	}
	now, err := k.written()
	if err == nil {
		err = differ(files, now)
	}
	return err
}

// cover mounts the overlays. They end with the mount namespace.
func (k *kit) cover() {
	k.uppers = map[string]string{}
	seen := k.files()
	for i, dir := range watchedDirs {
		info, err := os.Lstat(dir)
		if err != nil || !info.IsDir() {
			continue
		}
		upper, work := filepath.Join(place, "written", fmt.Sprint(i)), filepath.Join(place, "work", fmt.Sprint(i))
		if os.MkdirAll(upper, 0o755) != nil || os.MkdirAll(work, 0o755) != nil || os.Chmod(upper, info.Mode()) != nil {
			continue
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
		if unix.Mount("firmwared", dir, "overlay", 0, options) != nil {
			continue
		}
		k.uppers[dir] = upper
		if k.files() != seen { // the hook lies on a mount in dir, which is hidden now
			_ = mount.Detach(dir)
			delete(k.uppers, dir)
		}
	}
}

// written lists what the run has changed in the watched directories so far. A directory counts for its existence
// alone: its times change with what is in it.
func (k *kit) written() (map[string]entry, error) {
	all := map[string]entry{}
	for dir, upper := range k.uppers {
		tree, err := snapshot(upper)
		if err != nil {
			return nil, err
		}
		for name, e := range tree {
			if e.mode.IsDir() {
				e.mtime = 0
			}
			all[filepath.Join(dir, name)] = e
		}
	}
	return all, nil
}

// files counts those of the hook's files that can be seen.
func (k *kit) files() (seen int) {
	for _, path := range []string{k.hook.Path, filepath.Join(k.spec.Lib, "lib.bash")} {
		if _, err := os.Stat(path); err == nil {
			seen++
		}
	}
	return seen
}

// newMounts names a mount that came or went outside of the run's directory. What other programs mount and unmount
// meanwhile arrives here too; it is told by the mount table of the parent, which the hook cannot reach.
func (k *kit) newMounts(before map[string]int) error {
	var found error
	eventually(time.Second, func() bool {
		found = nil
		after, err := mount.Points("/proc/self")
		if err != nil {
			found = err
			return true
		}
		outside, err := mount.Points(fmt.Sprintf("/proc/%d", os.Getppid()))
		if err != nil {
			found = err
			return true
		}
		for point := range after {
			if after[point] > before[point] && outside[point] < after[point] && !inside(k.dir, point) {
				found = fmt.Errorf("%s was mounted", point)
			}
		}
		for point := range before {
			if after[point] < before[point] && outside[point] > after[point] && !inside(k.dir, point) {
				found = fmt.Errorf("%s was unmounted", point)
			}
		}
		return found == nil
	})
	return found
}
