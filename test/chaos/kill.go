// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// kill ends processes at random moments until there were enough, or until the
// time is up.
func (r *run) kill(random *rand.Rand, enough int, end time.Time) (total int) {
	for total < enough && time.Now().Before(end) {
		time.Sleep(time.Duration(random.Intn(80)) * time.Millisecond)
		kind := "command"
		killed := false
		switch n := random.Intn(10); {
		case n < 3:
			killed = r.killCommand(random)
		case n < 5:
			kind = "hook"
			killed = r.killIn(random, "hooks", nil)
		case n < 7:
			kind = "supervisor"
			killed = r.killIn(random, "supervisors", []string{"supervise"})
		default:
			kind = "init stage or pid 1"
			killed = r.killIn(random, "i-*", nil)
		}
		if killed {
			total++
			r.mu.Lock()
			r.kills[kind]++
			r.mu.Unlock()
		}
	}
	return total
}

// killCommand ends a command of a worker. It is not reaped while the lock is
// held, or its pid would not be its own.
func (r *run) killCommand(random *rand.Rand) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	var pids []int
	for pid := range r.commands {
		pids = append(pids, pid)
	}
	if len(pids) == 0 {
		return false
	}
	slices.Sort(pids) // for the seed's sake
	return r.commands[pids[random.Intn(len(pids))]].Kill() == nil
}

// killIn ends a process of one of the root's groups whose first argument is one
// of args, if any are given. Whether it is still in the group is looked at again
// once its pidfd is open.
func (r *run) killIn(random *rand.Rand, pattern string, args []string) bool {
	top := r.group()
	if top == "" {
		return false
	}
	groups, _ := filepath.Glob(filepath.Join(top, pattern))
	var pids []int
	for _, group := range groups {
		pids = append(pids, procs(group)...)
	}
	if len(pids) == 0 {
		return false
	}
	pid := pids[random.Intn(len(pids))]
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	proc := "/proc/" + strconv.Itoa(pid)
	in, _ := os.ReadFile(proc + "/cgroup")
	line, _ := os.ReadFile(proc + "/cmdline")
	words := strings.Split(string(line), "\x00")
	if !strings.Contains(string(in), "/firmwared/"+filepath.Base(top)+"/") || args != nil && (len(words) < 2 || !slices.Contains(args, words[1])) {
		return false
	}
	return unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) == nil
}

// procs lists the processes of a cgroup and of those below it.
func procs(group string) (pids []int) {
	_ = filepath.WalkDir(group, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return nil
		}
		data, _ := os.ReadFile(path + "/cgroup.procs")
		for _, word := range strings.Fields(string(data)) {
			if pid, err := strconv.Atoi(word); err == nil && pid > 0 {
				pids = append(pids, pid)
			}
		}
		return nil
	})
	return pids
}
