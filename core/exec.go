// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"firmwared/core/registry"
	"firmwared/core/sandbox"
	"firmwared/core/supervisor"
)

// ExecOptions say what a command is, who runs it and where.
type ExecOptions struct {
	Args       []string
	Env        []string
	Cwd        string
	User       string
	Terminal   bool
	Rows, Cols uint16
}

// Exec runs a command in an instance that is started, confined as its pid 1 is.
// The environment is the default one with the property env. Needs no Enter and
// takes no lock: a kill meanwhile ends the command, too. The caller must Wait.
func (m *Manager) Exec(ctx context.Context, inst *registry.Instance, o ExecOptions, streams supervisor.ExecOptions) (*supervisor.ExecHandle, error) {
	var run StartOptions
	registry.ReadRuntime(m.startFile(inst.ID), &run)
	props := maps.Clone(inst.Properties)
	if set, err := parseProperties(run.Set); err == nil && len(set) > 0 {
		if props == nil {
			props = map[string][]string{}
		}
		maps.Copy(props, set)
	}
	n, _ := m.readNet(inst.ID)
	w, _ := m.readWalls(inst.ID) // as they were raised: properties may have been set since
	command, err := supervisor.Exec(ctx, m.at.runtime(inst.ID), sandbox.Spec{
		Program:  smallProgram(),
		Root:     m.at.union(inst.ID),
		Args:     o.Args,
		Env:      slices.Concat(n.environ(), props["env"], o.Env),
		Cwd:      o.Cwd,
		User:     o.User,
		Terminal: o.Terminal,
		Rows:     o.Rows,
		Cols:     o.Cols,
		IDs:      w.IDs,
		Confine: sandbox.Confinement{
			None: w.Unconfined, Profile: w.Profile, CapsAdd: w.CapsAdd, CapsDrop: w.CapsDrop, SocketCall: w.SocketCall,
		},
	}, streams)
	return command, explainRunning("exec in", inst, err)
}

// Attach connects a person to an instance's console: see supervisor.Attach.
func (m *Manager) Attach(ctx context.Context, inst *registry.Instance, o supervisor.AttachOptions) (supervisor.AttachResult, error) {
	result, err := supervisor.Attach(ctx, m.at.runtime(inst.ID), o)
	return result, explainRunning("attach to", inst, err)
}

// explainRunning is for what only a started instance can do.
func explainRunning(what string, inst *registry.Instance, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, supervisor.ErrNotRunning):
		return fmt.Errorf("cannot %s instance %s: it is not started (firmwared start %s)", what, inst.Name, inst.Name)
	case errors.Is(err, supervisor.ErrNoConsole):
		return fmt.Errorf("cannot %s instance %s: %w; --no-stdin only watches", what, inst.Name, err)
	}
	return fmt.Errorf("cannot %s instance %s: %w", what, inst.Name, err)
}
