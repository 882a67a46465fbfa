// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"firmwared/core/event"
	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
)

// pendingDrop is the run-time file of an instance that goes while hooks of dropped.d
// wait for that. It is there before the record goes, all alone in the instance's
// run-time directory, and until all of them were called: one without a record is
// found like any stray. A hook is noted before it is called.
type pendingDrop struct {
	Subject event.Subject     `json:"subject"`
	Vars    map[string]string `json:"vars"`
	Begun   []string          `json:"begun,omitempty"`
}

func (m *Manager) droppedFile(id string) string {
	return filepath.Join(m.at.runtime(id), "dropped.json")
}

// noteDropped says that an instance's hooks are due, if there are any. On a full disk
// that is not written, which must not stop the drop: the hooks are lost then if this
// process is killed.
func (m *Manager) noteDropped(id string, at occasion) error {
	if len(at.hooks) == 0 {
		return nil
	}
	err := os.MkdirAll(m.at.runtime(id), 0o700)
	if err == nil {
		err = registry.WriteRuntime(m.droppedFile(id), pendingDrop{Subject: at.subject, Vars: at.vars})
	}
	if isFull(err) {
		return nil
	}
	return err
}

// callDropped calls the hooks of dropped.d, and takes the note away.
func (m *Manager) callDropped(ctx context.Context, id string, at occasion, begun []string) error {
	p := pendingDrop{Subject: at.subject, Vars: at.vars, Begun: begun}
	_ = m.callMoment(context.WithoutCancel(ctx), at, func(h hook.Hook) bool { // what fails there is a warning
		if slices.Contains(p.Begun, h.Name) {
			return true
		}
		p.Begun = append(p.Begun, h.Name)
		if err := registry.WriteRuntime(m.droppedFile(id), p); err != nil && !isFull(err) && !errors.Is(err, os.ErrNotExist) {
			m.warn(err)
		}
		return false
	})
	return mount.RemoveAll(m.at.runtime(id))
}

// finishDropped calls the hooks that a killed command did not get to. The caller
// holds the instance, of which there is no record.
func (m *Manager) finishDropped(ctx context.Context, id string) error {
	var p pendingDrop
	if !registry.ReadRuntime(m.droppedFile(id), &p) {
		return nil
	}
	at := occasion{subject: p.Subject, vars: p.Vars}
	at.Moment, _ = hook.FindMoment(hook.ActionDropped)
	at.hooks, at.problems = m.hooks.Moment(hook.ActionDropped)
	return m.callDropped(ctx, id, at, p.Begun)
}
