// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/mount"
)

// watchedDirs are where a hook that writes where it must not is likely to. For the time of a watch each is covered by
// an overlay of itself, whose upper shows what was written; one that no overlay can cover is not watched.
var watchedDirs = []string{"/tmp", "/var/tmp", "/etc", "/mnt", "/root", "/var/lib", "/var/cache"}

// watch runs f and says what it changed outside of the run's directory: files in watchedDirs, and mounts anywhere.
func (k *kit) watch(f func() error) error {
	uppers, uncover := k.cover()
	before, err := mount.Points("/proc/self")
	if err != nil {
		return errors.Join(err, uncover())
	}
	err = f()
	if err == nil {
		err = k.newMounts(before)
	}
	for dir, upper := range uppers {
		if err == nil {
			err = changed(dir, upper)
		}
	}
	return errors.Join(err, uncover())
}

// cover mounts the overlays and returns the upper of each.
func (k *kit) cover() (uppers map[string]string, uncover func() error) {
	uppers = map[string]string{}
	seen := k.files()
	k.count++
	base := filepath.Join(place, fmt.Sprintf("watch-%d", k.count))
	for i, dir := range watchedDirs {
		if info, err := os.Lstat(dir); err != nil || !info.IsDir() {
			continue
		}
		upper, work := filepath.Join(base, fmt.Sprint(i)), filepath.Join(base, fmt.Sprintf("work-%d", i))
		if os.MkdirAll(upper, 0o755) != nil || os.MkdirAll(work, 0o755) != nil {
			continue
		}
		if info, err := os.Stat(dir); err == nil {
			_ = os.Chmod(upper, info.Mode())
		}
		options := fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s", dir, upper, work)
		if unix.Mount("firmwared", dir, "overlay", 0, options) != nil {
			continue
		}
		uppers[dir] = upper
		if k.files() != seen { // the hook lies on a mount in dir, which is hidden now
			_ = mount.Detach(dir)
			delete(uppers, dir)
		}
	}
	return uppers, func() error {
		var problems []error
		for dir := range uppers {
			problems = append(problems, mount.Detach(dir))
		}
		return errors.Join(append(problems, mount.RemoveAll(base))...)
	}
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

// changed names one thing in an upper.
func changed(dir, upper string) error {
	return filepath.WalkDir(upper, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == upper {
			return err
		}
		rel, _ := filepath.Rel(upper, path)
		// A directory is there already if only something in it was changed.
		if entry.IsDir() {
			if below, err := os.ReadDir(path); err == nil && len(below) > 0 {
				return nil
			}
		}
		return fmt.Errorf("%s was changed", filepath.Join(dir, rel))
	})
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
