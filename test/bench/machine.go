// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const cgroupRoot = "/sys/fs/cgroup"

// enter makes a machine within the machine, in the caller's private mount
// namespace: /run and the like are fresh, so that neighbours find nobody's state and
// leave none, and the cgroups are one v2 tree (crun refuses the mixture of
// both). Descendants whose parents end become children of this process.
func (b *bench) enter() error {
	own, err := os.Readlink("/proc/self/ns/mnt")
	if err != nil {
		return err
	}
	if starter, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", os.Getppid())); err != nil || starter == own {
		return errors.New("must be run in a mount namespace of its own: use test/bench/run")
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("cannot become a subreaper: %w", err)
	}
	for _, dir := range []string{"", "tmp", "peers", "bin"} {
		if err := os.Mkdir(b.path(dir), 0o755); err != nil && !(dir == "" && errors.Is(err, fs.ErrExist)) {
			return err
		}
	}
	for _, dir := range []string{"/run", "/dev/shm", "/var/lib/containers", "/var/lib/schroot", "/etc/schroot/chroot.d"} {
		if _, err := os.Stat(dir); err != nil {
			continue // the neighbour that would use it is not installed
		}
		if err := unix.Mount("bench", dir, "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("cannot mount a fresh %s: %w", dir, err)
		}
	}
	if err := os.MkdirAll("/run/lock", 0o755); err != nil {
		return err
	}
	// As installed, and as the neighbours: state on a disk, run-time files in /run.
	for _, root := range roots {
		text := fmt.Sprintf("state_dir = %q\nrun_dir = %q\n", b.path(root), filepath.Join("/run", b.token, root))
		if err := os.WriteFile(b.config(root), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if err := b.oneTree(); err != nil {
		return err
	}
	b.facts()
	return nil
}

// oneTree moves this process into a cgroup of its own in a v2 tree.
func (b *bench) oneTree() error {
	var have unix.Statfs_t
	if err := unix.Statfs(cgroupRoot, &have); err != nil || have.Type != unix.CGROUP2_SUPER_MAGIC {
		if err := unix.Unmount(cgroupRoot, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
			return fmt.Errorf("cannot unmount the cgroups of version 1: %w", err)
		}
		if err := unix.Mount("cgroup2", cgroupRoot, "cgroup2", 0, ""); err != nil {
			return fmt.Errorf("cannot mount cgroups of version 2: %w", err)
		}
		if err := showCPU(); err != nil {
			return err
		}
	}
	if err := os.Mkdir(b.cgroup(), 0o755); err != nil {
		return err
	}
	return joinCgroup(b.cgroup())
}

// showCPU mounts the version 1 tree that has the controller cpu, where nobody else looks
// for one. Each Go program (firmwared, runc, podman) reads the mount table at its start
// until it has found the tree of that controller: on a machine with one tree that is
// one of the first mounts. If it were mounted nowhere each would read the table to its
// end, which grows with each instance.
func showCPU() error {
	table, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return err
	}
	controllers := legacyCPU(string(table))
	if controllers == "" {
		return nil
	}
	const point = "/run/cgroup-cpu"
	if err := os.Mkdir(point, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("cgroup", point, "cgroup", 0, controllers); err != nil {
		return fmt.Errorf("cannot mount the cgroups of version 1 with %s: %w", controllers, err)
	}
	return nil
}

// legacyCPU is the controllers of the version 1 tree that has cpu, as
// /proc/PID/cgroup tells them, or "".
func legacyCPU(table string) string {
	for line := range strings.Lines(table) {
		words := strings.SplitN(line, ":", 3)
		if len(words) == 3 && slices.Contains(strings.Split(words[1], ","), "cpu") {
			return words[1]
		}
	}
	return ""
}

func (b *bench) cgroup() string { return filepath.Join(cgroupRoot, b.token) }

func joinCgroup(dir string) error {
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0)
}

// facts notes what the figures depend on.
func (b *bench) facts() {
	var name unix.Utsname
	var memory unix.Sysinfo_t
	_, _ = unix.Uname(&name), unix.Sysinfo(&memory) // cannot fail
	b.res.When = time.Now().UTC().Format(time.RFC3339)
	b.res.Machine = map[string]string{
		"kernel":     unix.ByteSliceToString(name.Release[:]) + " " + unix.ByteSliceToString(name.Machine[:]),
		"processors": fmt.Sprintf("%d x %s", runtime.NumCPU(), lineValue("/proc/cpuinfo", "model name")),
		"memory":     fmt.Sprintf("%.1f GiB", float64(memory.Totalram)*float64(memory.Unit)/(1<<30)),
		"system":     strings.Trim(lineValue("/etc/os-release", "PRETTY_NAME"), `"`),
		"cgroups":    "one v2 tree",
	}
	if kind, err := b.run("stat", "-f", "-c", "%T", b.work); err == nil {
		b.res.Machine["file system"] = kind + ", of all files"
	}
	b.res.Versions = map[string]string{}
	if version, err := b.run(b.program, "version"); err == nil {
		b.res.Versions["firmwared"] = version
	}
}

// lineValue is what a file says after a key and a colon or equals sign.
func lineValue(file, key string) string {
	data, _ := os.ReadFile(file) // not there: nothing is said
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, key); ok {
			return strings.TrimSpace(strings.TrimLeft(rest, " \t:="))
		}
	}
	return ""
}

// processorTime is the machine's, idle and all, in ticks.
func processorTime() (idle, all int64) {
	words := strings.Fields(lineValue("/proc/stat", "cpu "))
	for i, word := range words {
		ticks, _ := strconv.ParseInt(word, 10, 64)
		if all += ticks; i == 3 || i == 4 { // idle, and waiting for a disk
			idle += ticks
		}
	}
	return idle, all
}

// leave removes everything, looks whether something is left, and says what.
func (b *bench) leave() error {
	var problems []string
	for _, root := range roots {
		problems = append(problems, b.empty(root)...)
	}
	for _, p := range neighbours {
		b.forget(p)
	}
	for limit := time.Now().Add(10 * time.Second); time.Now().Before(limit); time.Sleep(50 * time.Millisecond) {
		if reap(); len(b.leftovers()) == 0 {
			break
		}
	}
	left := b.leftovers()
	b.sweep()
	if err := os.RemoveAll(b.work); err != nil {
		left = append(left, err.Error())
	}
	if problems = append(problems, left...); len(problems) > 0 {
		return fmt.Errorf("left behind: %s", strings.Join(problems, "; "))
	}
	return nil
}

// empty drops the instances and removes the firmwares of a state root.
func (b *bench) empty(root string) (problems []string) {
	if _, err := os.Stat(b.path(root)); err != nil {
		return nil
	}
	if ids, err := b.run(b.fw(root, "list", "--json")...); err != nil || strings.Contains(ids, `"id"`) {
		if _, err := b.run(b.fw(root, "drop", "--all", "--force")...); err != nil {
			problems = append(problems, err.Error())
		}
	}
	for range 2 { // a base goes after what stands on it
		for _, id := range b.firmwares(root) {
			_, _ = b.run(b.fw(root, "firmware", "remove", id)...) // what stays is told below
		}
	}
	if left := b.firmwares(root); len(left) > 0 {
		problems = append(problems, "firmwares "+strings.Join(left, " "))
	}
	return problems
}

// leftovers names what is there of this run, apart from files in its directory.
func (b *bench) leftovers() (left []string) {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if words := strings.Fields(line); strings.HasPrefix(words[4], b.work+"/") || b.rooted(line) {
			left = append(left, "mount "+words[4])
		}
	}
	files, _ := filepath.Glob("/sys/block/loop*/loop/backing_file")
	for _, file := range files {
		if backing, err := os.ReadFile(file); err == nil && strings.HasPrefix(string(backing), b.work+"/") {
			left = append(left, "loop device on "+strings.TrimSpace(string(backing)))
		}
	}
	for _, p := range descendants() {
		left = append(left, fmt.Sprintf("process %d (%s)", p.pid, p.name))
	}
	for _, dir := range b.cgroups() {
		if dir != b.cgroup() {
			left = append(left, "cgroup "+dir)
		}
	}
	return left
}

// rooted tells whether a path has the key of one of the state roots in it.
func (b *bench) rooted(path string) bool {
	for _, root := range roots {
		sum := sha256.Sum256([]byte(b.path(root)))
		if strings.Contains(path, fmt.Sprintf("/firmwared/%x", sum[:4])) || strings.Contains(path, fmt.Sprintf("/roots/%x", sum[:4])) {
			return true
		}
	}
	return false
}

// cgroups of this run, inner ones first.
func (b *bench) cgroups() (dirs []string) {
	_ = filepath.WalkDir(cgroupRoot, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() && (strings.Contains(path, b.token) || b.rooted(path)) {
			dirs = append([]string{path}, dirs...)
		}
		return nil
	})
	return dirs
}

// sweep ends and removes by force whatever is left, and this process's cgroup.
func (b *bench) sweep() {
	for _, p := range descendants() {
		_ = unix.Kill(p.pid, unix.SIGKILL)
	}
	b.lift(b.work)
	_ = joinCgroup(cgroupRoot)
	for limit := time.Now().Add(5 * time.Second); len(b.cgroups()) > 0 && time.Now().Before(limit); time.Sleep(20 * time.Millisecond) {
		reap()
		for _, dir := range b.cgroups() {
			_ = os.Remove(dir)
		}
	}
}

// lift unmounts everything below a directory, in this namespace.
func (b *bench) lift(dir string) {
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	lines := strings.Split(strings.TrimSpace(string(mounts)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if point := strings.Fields(lines[i])[4]; strings.HasPrefix(point, dir+"/") {
			_ = unix.Unmount(point, unix.MNT_DETACH)
		}
	}
}
