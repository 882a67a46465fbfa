// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// startTime is when a process was made, in clock ticks since boot: with it a pid
// names one process for ever.
func startTime(pid int) (uint64, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	return parseStartTime(stat)
}

// parseStartTime: the second field is the program's name, which may hold blanks
// and brackets; the start time is the twentieth after it (proc_pid_stat(5)).
func parseStartTime(stat []byte) (uint64, error) {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return 0, errors.New("cannot understand process state")
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 20 {
		return 0, errors.New("cannot understand process state")
	}
	return strconv.ParseUint(string(fields[19]), 10, 64)
}

// openProcess returns a pidfd of the process that had this pid and start time;
// os.ErrProcessDone when it is gone.
func openProcess(pid int, start uint64) (int, error) {
	if pid <= 0 {
		return -1, os.ErrProcessDone
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, os.ErrProcessDone
	}
	if err != nil {
		return -1, fmt.Errorf("cannot open process %d: %w", pid, err)
	}
	// Compared after opening: the pidfd cannot change what it stands for.
	if now, err := startTime(pid); err != nil || now != start {
		unix.Close(fd)
		return -1, os.ErrProcessDone
	}
	return fd, nil
}

// killProcess ends the process and waits for its death.
func killProcess(ctx context.Context, pid int, start uint64) error {
	fd, err := openProcess(pid, start)
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("cannot kill process %d: %w", pid, err)
	}
	if !awaitDeath(ctx, fd) {
		return fmt.Errorf("cannot kill process %d: %w", pid, context.Cause(ctx))
	}
	return nil
}

// awaitDeath polls in slices, because poll(2) does not know ctx.
func awaitDeath(ctx context.Context, pidfd int) bool {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(fds, int(50*time.Millisecond/time.Millisecond))
		if n > 0 {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
		if ctx.Err() != nil {
			return false
		}
	}
}
