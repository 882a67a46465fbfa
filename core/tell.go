// SPDX-License-Identifier: Apache-2.0

package core

import (
	"time"

	"firmwared/core/event"
	"firmwared/core/registry"
)

// tell writes an event. One that cannot be written, on a full disk for instance,
// must not fail what it tells of.
func (m *Manager) tell(e event.Event) { _ = m.events.Append(e) }

func (m *Manager) tellInstance(kind event.Type, inst *registry.Instance) {
	m.tell(event.Event{Type: kind, Subject: m.subject(inst)})
}

func (m *Manager) tellFirmware(kind event.Type, fw *registry.Firmware) {
	m.tell(event.Event{Type: kind, Subject: event.Subject{FirmwareID: fw.ID, Firmware: fw.Name}, Path: fw.Path})
}

// subject is how events name an instance.
func (m *Manager) subject(inst *registry.Instance) event.Subject {
	s := event.Subject{FirmwareID: inst.Firmware, InstanceID: inst.ID, Instance: inst.Name}
	if fw, err := m.store.Firmwares.Load(inst.Firmware); err == nil {
		s.Firmware = fw.Name
	}
	return s
}

// progressPause lies between two events of one add.
const progressPause = 100 * time.Millisecond

// tellProgress returns what shows the progress of an add, and tells of it from
// the first pause on: a small image is none's concern.
func (m *Manager) tellProgress(fw *registry.Firmware, show func(done, total int64)) func(done, total int64) {
	last := time.Now()
	return func(done, total int64) {
		if show != nil {
			show(done, total)
		}
		if now := time.Now(); now.Sub(last) >= progressPause {
			last = now
			m.tell(event.Event{Type: event.AddProgress, Subject: event.Subject{Firmware: fw.Name}, Path: fw.Path, Bytes: &done, Total: &total})
		}
	}
}
