// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// signalled is why a command was broken off.
type signalled struct{ syscall.Signal }

func (s *signalled) Error() string {
	if s.Signal == syscall.SIGINT {
		return "interrupted"
	}
	return "ended by a signal (" + s.Signal.String() + ")"
}

// status is what a shell calls the end by the signal.
func (s *signalled) status() int { return 128 + int(s.Signal) }

// untilSignal is a context that the user's signals end, with a *signalled as the
// cause. They are caught for as long as the process lives.
func untilSignal(parent context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(parent)
	got := make(chan os.Signal, 1)
	signal.Notify(got, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		number, _ := (<-got).(syscall.Signal)
		cancel(&signalled{number})
	}()
	return ctx
}
