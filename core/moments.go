// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"firmwared/core/event"
	"firmwared/core/hook"
	"firmwared/core/registry"
)

// occasion is a point in an instance's life with the hooks that wait for it.
type occasion struct {
	hook.Moment
	subject  event.Subject
	hooks    []hook.Hook
	problems []error // in finding them, or in saying what they are to be told
	vars     map[string]string
}

// findMoment looks for the life-cycle hooks of a moment. extra are the variables
// of that moment alone. Where there are none it costs a readdir.
func (m *Manager) findMoment(action string, inst *registry.Instance, extra map[string]string) occasion {
	var at occasion
	at.Moment, _ = hook.FindMoment(action)
	at.hooks, at.problems = m.hooks.Moment(action)
	if len(at.hooks)+len(at.problems) == 0 {
		return at
	}
	at.subject = m.subject(inst)
	fw, err := m.store.Firmwares.Load(inst.Firmware)
	if err != nil {
		at.hooks = nil
		at.problems = append(at.problems, fmt.Errorf("cannot call the hooks of %s.d on instance %s: %w", action, inst.Name, err))
		return at
	}
	at.vars = map[string]string{
		hook.VarID:           inst.ID,
		hook.VarName:         inst.Name,
		hook.VarFirmware:     fw.Path,
		hook.VarFirmwareName: fw.Name,
		hook.VarWorkspace:    m.at.workspace(inst.ID),
		hook.VarUnion:        m.at.union(inst.ID),
	}
	maps.Copy(at.vars, extra)
	return at
}

// callMoment calls a moment's hooks, one after another, but not those that skip,
// if it is given, says true of. The caller holds the instance exclusively, so no
// hook may ask for it to be changed. The error is that of a hook whose failure
// undoes what led here, and nobody is called when one of those cannot be trusted;
// other failures are warnings.
func (m *Manager) callMoment(ctx context.Context, at occasion, skip func(hook.Hook) bool) error {
	if at.Abort && len(at.problems) > 0 {
		return errors.Join(at.problems...)
	}
	at.failed(m, at.problems...)
	for _, h := range at.hooks {
		if skip != nil && skip(h) {
			continue
		}
		_, err := m.runner.Run(ctx, hook.Call{Hook: h, Action: at.Action, Object: "instance " + at.subject.Instance, Vars: at.vars})
		switch {
		case err == nil:
		case at.Abort:
			return err
		default:
			at.failed(m, err)
		}
	}
	return nil
}

// moment finds and calls the hooks of a moment.
func (m *Manager) moment(ctx context.Context, action string, inst *registry.Instance, extra map[string]string) error {
	return m.callMoment(ctx, m.findMoment(action, inst, extra), nil)
}

// failed warns of hooks that failed, and tells: often there is nobody to warn.
func (at *occasion) failed(m *Manager, problems ...error) {
	m.warn(problems...)
	for _, err := range problems {
		m.tell(event.Event{Type: event.HookFailed, Subject: at.subject, Message: err.Error()})
	}
}
