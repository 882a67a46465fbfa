// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// commandLimit ends a command that hangs.
const commandLimit = 5 * time.Minute

// sample is one turn of one contender.
type sample struct {
	value float64 // in the figure's unit, milliseconds as a rule
	cpu   time.Duration
	out   string
	err   error
}

// clock is CLOCK_MONOTONIC, which a payload in new namespaces reads as well.
func clock() int64 {
	var now unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) // cannot fail with a valid clock
	return now.Nano()
}

func milliseconds(d time.Duration) float64 { return float64(d) / 1e6 }

// environment of everything that is run: nothing of the caller's settings.
func (b *bench) environment() []string {
	env := []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8",
		"HOME=" + b.work, "TMPDIR=" + b.path("tmp"),
		"FIRMWARED_CONFIG=/dev/null", "CONTAINERS_CONF=" + b.path("podman.conf"),
	}
	if dirs := os.Getenv("FIRMWARED_HOOK_DIRS"); dirs != "" {
		env = append(env, "FIRMWARED_HOOK_DIRS="+dirs)
	}
	return env
}

// command prepares argv with memory files as stdout and stderr: nothing is
// created in a file system, and no goroutine of this process is in the way.
func (b *bench) command(ctx context.Context, argv []string) (cmd *exec.Cmd, out, errs *os.File, err error) {
	cmd = exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env, cmd.Dir = b.environment(), "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // the terminal's Ctrl-C is ours
	var files [2]*os.File
	for i := range files {
		fd, err := unix.MemfdCreate("bench", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("cannot make a memory file: %w", err)
		}
		files[i] = os.NewFile(uintptr(fd), "memfd")
	}
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	return cmd, files[0], files[1], nil
}

// timed runs a command to its end. The sample's error says what it wrote on stderr.
func (b *bench) timed(argv []string) sample { return b.measured(argv, nil) }

// ticked runs a command whose payload is tick: the value is the time from the
// command's start to the payload's first instruction.
func (b *bench) ticked(argv []string) sample {
	return b.measured(argv, func(began int64, out string) (float64, error) {
		tick, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("the payload's clock is not in its output %q", out)
		}
		return float64(tick-began) / 1e6, nil
	})
}

func (b *bench) measured(argv []string, value func(began int64, out string) (float64, error)) sample {
	ctx, cancel := context.WithTimeout(context.Background(), commandLimit)
	defer cancel()
	cmd, out, errs, err := b.command(ctx, argv)
	if err != nil {
		return sample{err: err}
	}
	defer out.Close()
	defer errs.Close()
	began := clock()
	err = cmd.Start()
	if err == nil {
		err = cmd.Wait()
	}
	s := sample{value: float64(clock()-began) / 1e6, out: content(out)}
	if cmd.ProcessState != nil {
		s.cpu = cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	}
	if err != nil {
		s.err = fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, tail(content(errs)))
	} else if value != nil {
		s.value, s.err = value(began, s.out)
	}
	return s
}

// run is for what is not measured: its stdout, without the last newline.
func (b *bench) run(argv ...string) (string, error) {
	s := b.timed(argv)
	return strings.TrimSuffix(s.out, "\n"), s.err
}

// background starts a command that stays. Its end is reaped as an orphan's.
func (b *bench) background(id string, argv []string) error {
	cmd, out, errs, err := b.command(context.Background(), argv)
	if err != nil {
		return err
	}
	defer out.Close()
	defer errs.Close()
	if err := cmd.Start(); err != nil {
		return err
	}
	if b.staying == nil {
		b.staying = map[string]int{}
	}
	b.staying[id] = cmd.Process.Pid
	return cmd.Process.Release()
}

// end ends what background started, and waits until it has.
func (b *bench) end(id string) error {
	pid := b.staying[id]
	delete(b.staying, id)
	for _, signal := range []syscall.Signal{unix.SIGTERM, unix.SIGKILL} {
		if pid == 0 || unix.Kill(pid, signal) != nil {
			return nil
		}
		for limit := time.Now().Add(5 * time.Second); time.Now().Before(limit); time.Sleep(5 * time.Millisecond) {
			if reap(); unix.Kill(pid, 0) != nil {
				return nil
			}
		}
	}
	return fmt.Errorf("process %d does not end", pid)
}

func content(f *os.File) string {
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<30))
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// tail is the end of a message, on one line.
func tail(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 300 {
		text = "..." + text[len(text)-300:]
	}
	return text
}

// reap takes the end of processes that their parents left to us, and returns
// their CPU time. No command may be running.
func reap() (cpu time.Duration) {
	for {
		var status unix.WaitStatus
		var usage unix.Rusage
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG, &usage)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return cpu
		}
		cpu += time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
}
