// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"time"

	"firmwared/core/hook"
	"firmwared/core/registry"
)

// HookError is a hook call that failed; the names in JSON are promised.
type HookError struct {
	Time    time.Time `json:"time"`
	Hook    string    `json:"hook"`
	Action  string    `json:"action"`
	Layer   string    `json:"layer"`
	Message string    `json:"message"`
	Stderr  []string  `json:"stderr"` // its last lines, escaped
}

// hookErrorFile is the run-time file with the last failed call for an instance
// (layers union and net) or a firmware (layer lower).
func (m *Manager) hookErrorFile(layer, id string) string {
	if layer != hook.LayerLower {
		return filepath.Join(m.at.runtime(id), "hook_error.json")
	}
	return filepath.Join(m.at.runBase, "hook_errors", id+".json")
}

// callLayer runs a hook on a firmware or an instance, and keeps the error for
// those who ask later what went wrong.
func (m *Manager) callLayer(ctx context.Context, c hook.Call) (stdout []byte, err error) {
	if stdout, err = m.runner.Run(ctx, c); err != nil {
		m.keepHookError(c, err)
	}
	return stdout, err
}

// keepHookError: it is for people, so one that cannot be kept is no error.
func (m *Manager) keepHookError(c hook.Call, err error) {
	kept := HookError{Time: time.Now(), Hook: c.Hook.Name, Action: c.Action, Layer: c.Layer, Message: err.Error(), Stderr: []string{}}
	var failed *hook.Error
	if errors.As(err, &failed) {
		kept.Stderr = append(kept.Stderr, failed.Stderr...)
	}
	file := m.hookErrorFile(c.Layer, c.Vars[hook.VarID])
	if os.MkdirAll(filepath.Dir(file), 0o700) == nil {
		_ = registry.WriteRuntime(file, kept)
	}
}
