// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
	"firmwared/core/mount"
)

// place is where the child's tmpfs is. It covers what may be there.
const place = "/run/firmwared"

// openScratch makes the mount namespace the child's own and returns the run's directory in it. The tree becomes slave,
// not private: what is unmounted outside must not stay mounted here.
func openScratch(token string) (string, error) {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return "", fmt.Errorf("cannot make the mounts of the test its own: %w", err)
	}
	if err := os.MkdirAll(place, 0o755); err != nil {
		return "", fmt.Errorf("cannot make the test's directory: %w", err)
	}
	if err := unix.Mount("firmwared", place, "tmpfs", 0, "mode=755"); err != nil {
		return "", fmt.Errorf("cannot mount a tmpfs for the test: %w", err)
	}
	dir := filepath.Join(place, token)
	return dir, os.Mkdir(dir, 0o755)
}

// groups is the path of the run's cgroup.
func groups(token string) []string { return []string{"firmwared", token} }

// sweep takes away what a run may leave outside of its mount namespace: processes, cgroups, loop devices.
func sweep(token string) error {
	var problems []error
	group := cgroup.Open(groups(token)...)
	if _, err := os.Stat(group.Path()); group.Path() != "" && err == nil {
		problems = append(problems, group.Kill(), group.Remove())
		_ = os.Remove(filepath.Dir(group.Path()))
	}
	problems = append(problems, freeLoops(token))
	return errors.Join(problems...)
}

// loopsOn lists the loop devices whose file has the text in its path.
func loopsOn(text string) []string {
	var devices []string
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range files {
		if backing, err := os.ReadFile(file); err == nil && strings.Contains(string(backing), text) {
			devices = append(devices, "/dev/"+strings.Split(file, "/")[3])
		}
	}
	return devices
}

// freeLoops detaches them. The kernel is asked a few times: a device can be held for a moment by who looks at it.
func freeLoops(text string) error {
	for range 50 {
		devices := loopsOn(text)
		if len(devices) == 0 {
			return nil
		}
		for _, device := range devices {
			if fd, err := unix.Open(device, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				_ = unix.IoctlSetInt(fd, unix.LOOP_CLR_FD, 0)
				_ = unix.Close(fd)
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return fmt.Errorf("cannot detach %s, which the hook attached", strings.Join(loopsOn(text), ", "))
}

// unmountBelow takes away what is mounted at and under dir, whoever uses it.
func unmountBelow(dir string) error {
	points, err := mount.Below(dir)
	for _, point := range points {
		if mount.Unmount(point) != nil {
			err = errors.Join(err, mount.Detach(point))
		}
	}
	return err
}

// eventually polls until something holds, for as long as the kernel may need to take a device or a process down.
func eventually(patience time.Duration, holds func() bool) bool {
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if holds() {
			return true
		}
		if time.Now().After(end) {
			return false
		}
	}
}
