// SPDX-License-Identifier: Apache-2.0

// Package event keeps the log of a root: what happened to its firmwares and
// instances, a JSON object a line, in the order of their numbers.
//
// Any number of processes append at once, each line under a lock on the file; a
// reader takes no lock and disturbs nobody. Numbers rise by one from line to
// line, over rotations and restarts and whatever the clock does, so a reader that
// knows the last number it saw misses nothing and sees nothing twice.
//
// Failure promise: an append that fails leaves no part of a line. Nothing is
// synced, so a power cut may cost the last lines, and a torn one is dropped by the
// next append. Whoever tells the log of something must not fail because the log
// did: a disk may be full.
package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"
)

// Type is what happened.
type Type string

// The types, with the fields that they have beside the common ones.
const (
	FirmwareAdded   Type = "firmware_added"   // path
	FirmwareRemoved Type = "firmware_removed" // path
	AddProgress     Type = "add_progress"     // path, bytes, total; before there is an id
	Prepared        Type = "prepared"
	Started         Type = "started" // pid
	Dead            Type = "dead"    // exit_code, signal, reason, oom_killed
	Remounted       Type = "remounted"
	Dropped         Type = "dropped"
	HookFailed      Type = "hook_failed" // message; of a life-cycle hook whose failure undoes nothing
)

// Types lists them all.
func Types() []Type {
	return []Type{FirmwareAdded, FirmwareRemoved, AddProgress, Prepared, Started, Dead, Remounted, Dropped, HookFailed}
}

// Subject is whom an event is about: a firmware, or an instance of one.
type Subject struct {
	FirmwareID string `json:"firmware_id,omitempty"`
	Firmware   string `json:"firmware,omitempty"` // name
	InstanceID string `json:"instance_id,omitempty"`
	Instance   string `json:"instance,omitempty"` // name
}

// Event is one line of the log; the names in JSON are promised. Seq and Time are
// Append's.
type Event struct {
	Seq  uint64    `json:"seq"`
	Time time.Time `json:"time"`
	Type Type      `json:"type"`
	Subject
	Path      string `json:"path,omitempty"`
	Bytes     *int64 `json:"bytes,omitempty"`
	Total     *int64 `json:"total,omitempty"`
	PID       int    `json:"pid,omitempty"`       // of pid 1, on the host
	ExitCode  *int   `json:"exit_code,omitempty"` // 128+N for signal N
	Signal    string `json:"signal,omitempty"`    // as SIGKILL
	Reason    string `json:"reason,omitempty"`    // exited, signal, poweroff, reboot, or "supervisor died"
	OOMKilled bool   `json:"oom_killed,omitempty"`
	Message   string `json:"message,omitempty"`
}

// maxLine bounds a line with its newline. The longest path, of 4096 bytes, takes
// six times that as JSON at worst.
const maxLine = 64 << 10

const maxMessage = 1024

var errTooLong = errors.New("the event is too long")

func (e *Event) line() ([]byte, error) {
	if len(e.Message) > maxMessage {
		e.Message = e.Message[:maxMessage]
	}
	line, err := json.Marshal(e)
	if err == nil && len(line) >= maxLine {
		err = errTooLong
	}
	return append(line, '\n'), err
}

var errNoEvent = errors.New("not an event")

// parse reads a line without its newline. Unknown fields and types are of a newer
// program and no error.
func parse(line []byte) (e Event, err error) {
	if len(line) >= maxLine || bytes.IndexByte(line, '\n') >= 0 {
		return Event{}, errNoEvent
	}
	if err := json.Unmarshal(line, &e); err != nil {
		return Event{}, err
	}
	if e.Seq == 0 || e.Type == "" || e.Time.IsZero() {
		return Event{}, errNoEvent
	}
	return e, nil
}
