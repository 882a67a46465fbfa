// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"firmwared/core/cgroup"
	"firmwared/core/event"
	"firmwared/core/sandbox"
)

// ErrRunning is what Launch and Begin return for an instance whose lock is held.
var ErrRunning = errors.New("already started")

// ErrNotRunning is what the client functions return for one whose lock is free.
var ErrNotRunning = errors.New("not started")

// ErrNoConsole is what Attach returns when there is nothing to type into.
var ErrNoConsole = errors.New("it runs with plain pipes and has no terminal to type into")

// Spec is one instance to be started. It travels as JSON.
type Spec struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	// Dir is the instance's run-time directory; it exists or its parent does.
	Dir string `json:"dir"`
	// Log is the console log; output is appended.
	Log string `json:"log"`
	// LogMax bounds the log, in bytes; the oldest output goes first. 0 is no limit.
	LogMax  int64        `json:"log_max,omitempty"`
	Sandbox sandbox.Spec `json:"sandbox"`
	// Cgroup names the instance's own group, at least two elements; it is made
	// when missing and removed at the end. Empty is none. Without a cgroup2
	// hierarchy it is ignored. Sandbox.Cgroup is set from it.
	Cgroup []string `json:"cgroup,omitempty"`
	// AttachDevices, if it is given, bounds the group to the devices that the
	// instance may use, from before its first instruction; without, that is the
	// caller's affair. NoDeviceFilter and Sandbox.DeviceGroup are set by it.
	AttachDevices  cgroup.AttachDevices `json:"-"`
	NoDeviceFilter string               `json:"no_device_filter,omitempty"`
	// Limits bound the instance's own group; they need one.
	Limits cgroup.Limits `json:"limits,omitzero"`
	// Events is the path of the event log that is told of the start and, before
	// the lock is free, of the end; empty is none. Subject is the instance in it.
	Events  string        `json:"events,omitempty"`
	Subject event.Subject `json:"subject,omitzero"`
	// RaiseNet, if it is given, is called in the process that starts the instance, when
	// its network namespace is there and nothing runs in it. The start goes on when it
	// returns, with env in front of pid 1's environment; an error ends it, and so does
	// the death of the caller.
	RaiseNet func(namespace *os.File) (env []string, err error) `json:"-"`
	// Hold is a file that a detached supervisor keeps open as long as it lives.
	Hold *os.File `json:"-"`
	// After is what a detached supervisor becomes, by execve(2) of the launcher's
	// binary, once its instance has ended without having been killed by Kill: who
	// called that can see to the rest.
	After *Command `json:"after,omitempty"`
}

// Command is a program's arguments, argv[0] first, and its whole environment.
type Command struct {
	Args []string `json:"args"`
	Env  []string `json:"env"`
	// FD is the program's descriptor, set by Launch; 0 is the process's own program.
	FD int `json:"fd,omitempty"`
}

// Streams are what Begin connects pid 1's pipes to. They are copied, never
// handed down: an instance could reopen a descriptor of the caller through
// /proc/self/fd with other rights. A nil In is an empty input; a nil Out or Err
// goes to the log alone.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

func (s *Spec) validate() error {
	if !filepath.IsAbs(s.Dir) || !filepath.IsAbs(s.Log) {
		return fmt.Errorf("cannot start %s: run-time directory %q and log %q must be absolute paths", s.ID, s.Dir, s.Log)
	}
	if len(s.Cgroup) == 1 {
		return fmt.Errorf("cannot start %s: cgroup %q needs a parent", s.ID, s.Cgroup[0])
	}
	for _, elem := range s.Cgroup {
		if !cgroup.ValidName(elem) {
			return fmt.Errorf("cannot start %s: bad cgroup name %q", s.ID, elem)
		}
	}
	if len(s.Cgroup) == 0 && s.Limits != (cgroup.Limits{}) {
		return fmt.Errorf("cannot start %s: limits need a cgroup", s.ID)
	}
	return s.Sandbox.Validate()
}
