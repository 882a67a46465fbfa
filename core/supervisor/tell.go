// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"syscall"

	"golang.org/x/sys/unix"

	"firmwared/core/event"
	"firmwared/core/sandbox"
)

// What is told is never waited for, and an event log that takes nothing, on a full
// disk for instance, changes nothing else.

func (s *Status) tellStarted() {
	_ = event.Log{Path: s.Events}.Append(event.Event{Type: event.Started, Subject: s.Subject, PID: s.PID})
}

// tellDead is for a run that was told to have started.
func (s *Status) tellDead() {
	code := s.Exit.Status()
	e := event.Event{Type: event.Dead, Subject: s.Subject, ExitCode: &code, Reason: s.Exit.Reason, OOMKilled: s.Exit.OOMKilled > 0}
	switch s.Exit.Reason {
	case sandbox.ReasonSignal, ReasonLost, ReasonOutOfMemory:
		e.Signal = unix.SignalName(syscall.Signal(s.Exit.Signal))
	}
	_ = event.Log{Path: s.Events}.Append(e)
}

// recordLoss is for the holder of the lock who found that the supervisor was
// killed: the next one finds an end like any other.
func (s *Status) recordLoss(path string) error {
	s.lose()
	dir, err := openDir(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := s.save(dir); err != nil {
		return err
	}
	if !s.StartedAt.IsZero() {
		s.tellDead()
	}
	return nil
}
