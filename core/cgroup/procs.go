// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// Procs lists the processes of the group and of all groups below it. Processes of other pid namespaces, which the
// kernel shows as 0, and zombies are not listed.
func (g *Group) Procs() ([]int, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	var pids []int
	err := filepath.WalkDir(g.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if gone(err) {
				return nil
			}
			return err
		}
		if !d.IsDir() {
			return nil
		}
		data, err := os.ReadFile(path + "/cgroup.procs")
		if err != nil {
			if gone(err) {
				return nil
			}
			return err
		}
		for field := range strings.FieldsSeq(string(data)) {
			if pid, err := strconv.Atoi(field); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("cannot list processes of cgroup: %w", err)
	}
	return pids, nil
}

// HasOther tells whether a process other than pid is in the group itself. The kernel makes up no more of the list than
// is asked for, so that this costs the same however many there are.
func (g *Group) HasOther(pid int) (bool, error) {
	if err := g.check(); err != nil {
		return false, err
	}
	fd, err := unix.Open(g.dir+"/cgroup.procs", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		defer unix.Close(fd)
		var first [64]byte // several whole lines
		var n int
		if n, err = unix.Read(fd, first[:]); err == nil {
			return others(string(first[:n]), pid), nil
		}
	}
	if gone(err) {
		return false, nil
	}
	return false, fmt.Errorf("cannot list processes of cgroup: %w", err)
}

// others tells whether the beginning of a list has a whole line that is not pid.
func others(list string, pid int) bool {
	for line := range strings.Lines(list) {
		if number, whole := strings.CutSuffix(line, "\n"); whole && number != strconv.Itoa(pid) {
			return true
		}
	}
	return false
}

// Enter puts a process with its threads into the group, which must exist.
func (g *Group) Enter(pid int) error {
	if err := g.check(); err != nil {
		return err
	}
	if err := writeFile(g.dir+"/cgroup.procs", strconv.Itoa(pid)); err != nil {
		return fmt.Errorf("cannot put process %d into cgroup: %w", pid, err)
	}
	return nil
}

// Signal sends sig once to each process that is in the group now; children born meanwhile may be missed (Kill misses
// none). All are tried; the last failure is returned.
func (g *Group) Signal(sig syscall.Signal) error {
	_, err := g.signal(sig)
	return err
}

// signal returns how many processes it found.
func (g *Group) signal(sig syscall.Signal) (int, error) {
	before, err := g.Procs()
	if err != nil || len(before) == 0 {
		return 0, err
	}
	fds := make(map[int]int, len(before))
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range before {
		if _, dup := fds[pid]; dup {
			continue
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue // it ended, or the pid is a thread's now
		}
		fds[pid] = fd
	}
	// A pid read from cgroup.procs may have been reused before its pidfd was opened. One that is listed again after
	// that is either the process of the pidfd, or that process is dead and the signal goes nowhere.
	after, err := g.Procs()
	if err != nil {
		return 0, err
	}
	var failed error
	for _, pid := range after {
		fd, ok := fds[pid]
		if !ok {
			continue
		}
		if err := unix.PidfdSendSignal(fd, sig, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
			failed = fmt.Errorf("cannot send signal %d to process %d: %w", int(sig), pid, err)
		}
	}
	return len(after), failed
}

// Leave moves the calling process to the top of the hierarchy, so that the group it was in can be removed. It waits for
// an RCU grace period, 7 to 16 ms.
func Leave() error {
	base, err := Root()
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(base, "cgroup.procs"), []byte("0"), 0); err != nil {
		return fmt.Errorf("cannot leave cgroup: %w", err)
	}
	return nil
}
