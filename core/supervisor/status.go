// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/event"
	"firmwared/core/rename"
	"firmwared/core/sandbox"
	"firmwared/core/smallfile"
)

// State is where a started instance is; an instance that was not started since
// boot has the empty one.
type State string

// The states.
const (
	StateStarting State = "starting"
	StateStarted  State = "started"
	StateStopping State = "stopping"
	// StateDead is an instance that ran since boot and has ended.
	StateDead State = "dead"
)

// ReasonLost is the reason of an Exit that nobody saw: the supervisor was
// killed, and pid 1 with it.
const ReasonLost = "supervisor died"

// ReasonOutOfMemory is the reason of an Exit by the kernel's SIGKILL, because the
// instance reached its memory limit.
const ReasonOutOfMemory = "out of memory"

// Exit is how and when pid 1 ended.
type Exit struct {
	sandbox.Exit
	At time.Time `json:"at"`
	// OOMKilled counts the processes that the kernel ended because the memory
	// limit, MemoryMax bytes, was reached; pid 1 need not be one of them.
	OOMKilled int64 `json:"oom_killed,omitempty"`
	MemoryMax int64 `json:"memory_max,omitempty"`
}

// Status is what is known of an instance's present or last run.
type Status struct {
	BootID          string    `json:"boot_id"`
	State           State     `json:"state"`
	SupervisorPID   int       `json:"supervisor_pid"`
	SupervisorStart uint64    `json:"supervisor_start"`
	PID             int       `json:"pid,omitempty"`
	PIDStart        uint64    `json:"pid_start,omitempty"`
	StartedAt       time.Time `json:"started_at,omitzero"`
	Terminal        bool      `json:"terminal,omitempty"`
	Cgroup          []string  `json:"cgroup,omitempty"`
	// NoDeviceFilter says why no filter keeps the instance from devices, when it
	// should.
	NoDeviceFilter string `json:"no_device_filter,omitempty"`
	// LogLost counts console bytes that the disk would not take.
	LogLost int64 `json:"log_lost,omitempty"`
	Exit    *Exit `json:"exit,omitempty"`
	// Events and Subject are the Spec's.
	Events  string        `json:"events,omitempty"`
	Subject event.Subject `json:"subject,omitzero"`
	// Lost: the supervisor was killed, and nobody has called Clean since.
	Lost bool `json:"-"`
}

// Alive says whether a supervisor holds the instance.
func (s Status) Alive() bool {
	return s.State != "" && s.State != StateDead
}

const statusFile = "status.json"

// Read tells the truth about the instance whose run-time directory is dir: the
// lock decides whether it is alive, the file only tells the rest. A directory
// that is missing, or a file of another boot, is the zero Status. It takes no
// lock and costs two opens.
func Read(dir string) (Status, error) {
	status, err := load(dir)
	if err != nil {
		return Status{}, err
	}
	alive, err := lockHeld(dir)
	if err != nil {
		return Status{}, err
	}
	switch {
	case alive && status.State == "":
		status.State = StateStarting
	case alive && status.State == StateDead:
		status.State = StateStopping
	case !alive && status.Alive():
		status.lose()
		status.Lost = true
	}
	return status, nil
}

// lose is what there is to say of a run whose end nobody saw.
func (s *Status) lose() {
	s.State = StateDead
	s.Exit = &Exit{Exit: sandbox.Exit{Signal: int(unix.SIGKILL), Reason: ReasonLost}}
}

func load(dir string) (Status, error) {
	var status Status
	data, err := smallfile.Read(filepath.Join(dir, statusFile))
	if errors.Is(err, fs.ErrNotExist) {
		return status, nil
	}
	if err != nil {
		return status, fmt.Errorf("cannot read status: %w", err)
	}
	boot, err := bootID()
	if err != nil {
		return status, err
	}
	if json.Unmarshal(data, &status) != nil || status.BootID != boot {
		// Written whole or not at all: what cannot be understood is not ours or
		// is older than the last boot.
		return Status{}, nil
	}
	return status, nil
}

// save replaces the status file. Without fsync: a reboot ends what it tells.
func (s *Status) save(dir *os.File) error {
	data, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("cannot encode status: %w", err)
	}
	const temporary = statusFile + ".new"
	at := int(dir.Fd())
	fd, err := unix.Openat(at, temporary, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o644)
	if err != nil {
		return fmt.Errorf("cannot write status in %s: %w", dir.Name(), err)
	}
	file := os.NewFile(uintptr(fd), temporary)
	_, err = file.Write(append(data, '\n'))
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = rename.Over(at, temporary, statusFile)
	}
	if err != nil {
		_ = unix.Unlinkat(at, temporary, 0)
		return fmt.Errorf("cannot write status in %s: %w", dir.Name(), err)
	}
	return nil
}

var bootID = sync.OnceValues(func() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("cannot read boot id: %w", err)
	}
	return strings.TrimSpace(string(id)), nil
})
