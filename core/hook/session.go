// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// session is the set of a call's processes where there is no cgroup2: those in the hook's session, and those that
// carry its mark in their environment. A process that leaves the session and empties its environment is lost: only
// a cgroup holds that one.
type session struct {
	sid  int // 0: only the mark counts. Its leader must not be reaped meanwhile
	mark string
}

func (s *session) member(pid int) bool {
	stat, ok := readStat(pid)
	if !ok || stat.dead() {
		return false
	}
	if s.sid != 0 && stat.session == s.sid {
		return true
	}
	env := environ(pid)
	mark := []byte(s.mark + "=")
	return bytes.HasPrefix(env, mark) || bytes.Contains(env, append([]byte{0}, mark...))
}

// environ is a process's environment. In the middle of an execve(2) it is empty for a moment (environ_read, fs/proc/base.c),
// as a kernel thread's always is.
func environ(pid int) []byte {
	proc := "/proc/" + strconv.Itoa(pid)
	for range 5 {
		env, err := os.ReadFile(proc + "/environ")
		if len(env) > 0 || err != nil {
			return env
		}
		if statm, err := os.ReadFile(proc + "/statm"); err != nil || bytes.HasPrefix(statm, []byte("0 ")) {
			return nil
		}
		time.Sleep(time.Millisecond)
	}
	return nil
}

func (s *session) procs() []int {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer proc.Close()
	names, _ := proc.Readdirnames(-1)
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && s.member(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func (s *session) empty() bool { return len(s.procs()) == 0 }

func (s *session) remove() {}

// each opens a pidfd of every member, hands them to f and returns how many they were. A pid is looked at again once
// its pidfd is open: it may have been reused in between.
func (s *session) each(f func(pidfds []int)) int {
	var fds []int
	defer func() {
		for _, fd := range fds {
			_ = unix.Close(fd)
		}
	}()
	for _, pid := range s.procs() {
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			continue
		}
		if !s.member(pid) {
			_ = unix.Close(fd)
			continue
		}
		fds = append(fds, fd)
	}
	f(fds)
	return len(fds)
}

func (s *session) signal(sig syscall.Signal) error {
	s.each(func(fds []int) { sendAll(fds, sig) })
	return nil
}

// kill repeats until a search finds nobody: who was signalled forks no more, but may have a child that was born
// after the search.
func (s *session) kill(ctx context.Context) error {
	return s.rounds(ctx, func(fds []int) { sendAll(fds, unix.SIGKILL) })
}

func (s *session) waitEmpty(ctx context.Context) error { return s.rounds(ctx, func([]int) {}) }

func sendAll(pidfds []int, sig syscall.Signal) {
	for _, fd := range pidfds {
		_ = unix.PidfdSendSignal(fd, sig, nil, 0) // fails only if it has ended
	}
}

// rounds does something to all members until there is none.
func (s *session) rounds(ctx context.Context, do func(pidfds []int)) error {
	const again = 20 * time.Millisecond // for those who were born after the search
	for {
		n := s.each(func(fds []int) {
			do(fds)
			waitAny(fds, again)
		})
		if n == 0 {
			return nil
		}
		if ctx.Err() != nil {
			return fmt.Errorf("%d processes are left: %w", n, context.Cause(ctx))
		}
	}
}

// waitAny returns when one of the processes has ended, or after a while.
func waitAny(pidfds []int, while time.Duration) {
	polls := make([]unix.PollFd, 0, len(pidfds))
	for _, fd := range pidfds {
		polls = append(polls, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	if len(polls) > 0 {
		_, _ = unix.Poll(polls, int(while.Milliseconds()))
	}
}

// procStat is a part of /proc/PID/stat.
type procStat struct {
	state   byte
	session int
	start   string // in clock ticks since boot
}

func (s procStat) dead() bool { return s.state == 'Z' || s.state == 'X' }

func readStat(pid int) (procStat, bool) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return procStat{}, false
	}
	return parseStat(string(data))
}

// parseStat reads proc_pid_stat(5). The second field is the command in parentheses, which may hold anything.
func parseStat(text string) (procStat, bool) {
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	if len(fields) < 20 || len(fields[0]) != 1 {
		return procStat{}, false
	}
	session, err := strconv.Atoi(fields[3])
	return procStat{state: fields[0][0], session: session, start: fields[19]}, err == nil
}

// startTime tells a living process from a later one with its pid.
func startTime(pid int) (string, bool) {
	stat, ok := readStat(pid)
	return stat.start, ok && !stat.dead()
}
