// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"firmwared/core/event"
)

// EventFilter chooses events. The zero value is all that are kept.
type EventFilter struct {
	After     uint64    // those with a higher number
	Since     time.Time // from the first that is not older on, whatever the clock did later
	Instances []string  // of these, by name or id, also of those that are gone; none: of all, and of firmwares
	Follow    bool      // go on with those that come, until ctx ends
}

// Events gives events in order. It takes no lock. Those that were rotated away
// since After are told of as a notice.
func (m *Manager) Events(ctx context.Context, f EventFilter, emit func(event.Event) error) error {
	r := m.events.NewReader(f.After)
	defer r.Close()
	r.Lost = func(first, last uint64) {
		m.notice(fmt.Sprintf("warning: events %d to %d are no longer kept", first, last))
	}
	for _, key := range f.Instances {
		if inst, err := m.Instance(key); err == nil { // it may be gone, or not be there yet
			f.Instances = append(f.Instances, inst.ID)
		}
	}
	begun := f.Since.IsZero()
	some := func(e event.Event) error {
		begun = begun || !e.Time.Before(f.Since)
		if !begun || !f.wants(e) || ctx.Err() != nil {
			return nil
		}
		return emit(e)
	}
	var err error
	if f.Follow {
		err = r.Follow(ctx, some)
	} else {
		err = r.Read(some)
	}
	if err != nil {
		return fmt.Errorf("cannot read the events of %s: %w", m.at.state, err)
	}
	return nil
}

func (f *EventFilter) wants(e event.Event) bool {
	return len(f.Instances) == 0 || e.InstanceID != "" &&
		(slices.Contains(f.Instances, e.Instance) || slices.Contains(f.Instances, e.InstanceID))
}

// ParseSince reads a moment: RFC 3339, seconds since 1970, or how long before now,
// as 10m.
func ParseSince(text string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	// Before ParseDuration, which takes 0 without a unit.
	if seconds, err := strconv.ParseInt(text, 10, 64); err == nil && seconds >= 0 {
		return time.Unix(seconds, 0), nil
	}
	if back, err := time.ParseDuration(text); err == nil && back >= 0 {
		return now.Add(-back), nil
	}
	return time.Time{}, fmt.Errorf("%q is no time: write 2026-01-31T10:00:00Z, seconds since 1970, or how long ago, as 10m", text)
}
