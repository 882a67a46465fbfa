// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"firmwared/core/cgroup"
	"firmwared/core/config"
	"firmwared/core/hook"
	"firmwared/core/registry"
	"firmwared/core/supervisor"
)

// pendingEnd is the run-time file of a run after whose end something is due: hooks
// of dead.d, a profile to unload. It goes when all have been called. A hook is noted before it is
// called, so that each is called once, whoever dies when.
type pendingEnd struct {
	Quiet bool     `json:"quiet,omitempty"` // no hook is due
	Mark  string   `json:"mark,omitempty"`  // path of the mark that the supervisor holds
	Begun []string `json:"begun,omitempty"`
}

func (m *Manager) pendingFile(id string) string {
	return filepath.Join(m.at.runtime(id), "dead.json")
}

// arrangeEnd makes ready for the end of a run that is about to begin: where hooks wait
// for it, a network is to be taken away, or the instance or its profile is to go with it,
// a mark is held as long as its supervisor lives, so that the next command finds out should
// that be killed. A detached supervisor holds it itself and, at an end that no command waits for,
// becomes the process that does what is due. The mark is nil when nothing is. The
// caller holds the instance exclusively.
func (m *Manager) arrangeEnd(inst *registry.Instance, spec *supervisor.Spec, detached bool) (mark *registry.Mark, err error) {
	hooks, problems := m.hooks.Moment(hook.ActionDead)
	due := len(hooks)+len(problems) > 0 || spec.RaiseNet != nil || m.hasOwnProfile(inst.ID)
	if !due && !inst.Ephemeral {
		return nil, nil
	}
	if detached || !m.runsHere(inst.ID) {
		if mark, err = m.store.Begin("instance." + inst.ID); err != nil {
			return nil, err
		}
	}
	pending := pendingEnd{Quiet: len(hooks)+len(problems) == 0}
	if detached {
		spec.Hold, pending.Mark = mark.File(), mark.Path()
		spec.After = &supervisor.Command{Args: []string{os.Args[0], EndedArg, inst.ID}, Env: m.cfg.Environ(os.Environ())}
	}
	if due {
		if err := registry.WriteRuntime(m.pendingFile(inst.ID), pending); err != nil {
			mark.End()
			return nil, err
		}
	}
	return mark, nil
}

// begin starts a run with start, which returns the host's number of pid 1, and
// calls the hooks of started.d. When one of them fails, the run is ended again.
// The mark that is returned is nil when nothing is due at the end. The caller
// holds the instance exclusively.
func (m *Manager) begin(ctx context.Context, inst *registry.Instance, spec supervisor.Spec, detached bool,
	start func(supervisor.Spec) (pid int, err error)) (*registry.Mark, error) {
	mark, err := m.arrangeEnd(inst, &spec, detached)
	if err != nil {
		return nil, err
	}
	pid, err := start(spec)
	if err != nil {
		m.tryCleanNet(ctx, inst)
		_ = os.Remove(m.pendingFile(inst.ID))
	} else {
		err = m.moment(ctx, hook.ActionStarted, inst, map[string]string{hook.VarPID: strconv.Itoa(pid)})
		if err != nil {
			err = errors.Join(err, m.kill(context.WithoutCancel(ctx), inst, KillOptions{}))
		}
	}
	if err != nil && mark != nil {
		mark.End()
		mark = nil
	}
	return mark, err
}

// beginDetached is begin for a start under a supervisor of its own.
func (m *Manager) beginDetached(ctx context.Context, inst *registry.Instance, spec supervisor.Spec,
	start func(supervisor.Spec) (pid int, err error)) error {
	mark, err := m.begin(ctx, inst, spec, true, start)
	if mark != nil {
		mark.Abandon() // the supervisor holds it
	}
	return err
}

// beginHere is begin for a start under this process, which holds the mark until
// EndRun, if it has none from the prepare of an ephemeral instance.
func (m *Manager) beginHere(ctx context.Context, inst *registry.Instance, spec supervisor.Spec, streams supervisor.Streams) (run *supervisor.Handle, err error) {
	mark, err := m.begin(ctx, inst, spec, false, func(spec supervisor.Spec) (pid int, err error) {
		if run, err = supervisor.Begin(ctx, spec, streams); err != nil {
			return 0, err
		}
		return run.Status().PID, nil
	})
	if err != nil && run != nil {
		_, waitErr := run.Wait()
		return nil, errors.Join(err, waitErr)
	}
	if mark != nil {
		m.runs.Store(inst.ID, mark)
	}
	return run, err
}

// settle does what is due after the last run, if it is over: it tells the end of
// one whose supervisor was killed, takes its network away, unloads a profile of its own, and
// calls the hooks of dead.d that were not called yet. The caller holds the instance exclusively.
func (m *Manager) settle(ctx context.Context, inst *registry.Instance) {
	st, err := supervisor.Read(m.at.runtime(inst.ID))
	if err != nil {
		m.warn(err)
		return
	}
	if st.Alive() {
		return
	}
	if st.Lost {
		m.clearProcess(ctx, inst.ID)
	}
	m.tryCleanNet(ctx, inst)
	m.unloadOwnProfile(ctx, inst.ID)
	var pending pendingEnd
	if !registry.ReadRuntime(m.pendingFile(inst.ID), &pending) {
		return
	}
	if !pending.Quiet && !st.StartedAt.IsZero() { // else its starter was killed before there was a pid 1
		at := m.findMoment(hook.ActionDead, inst, map[string]string{
			hook.VarExitCode:   strconv.Itoa(st.Exit.Status()),
			hook.VarExitReason: exitReason(*st.Exit),
		})
		// Each hook has a limit of its own, and what was noted is not called again.
		_ = m.callMoment(context.WithoutCancel(ctx), at, func(h hook.Hook) bool {
			if slices.Contains(pending.Begun, h.Name) {
				return true
			}
			pending.Begun = append(pending.Begun, h.Name)
			if err := registry.WriteRuntime(m.pendingFile(inst.ID), pending); err != nil {
				m.warn(err)
			}
			return false
		})
	}
	_ = os.Remove(m.pendingFile(inst.ID))
	if pending.Mark != "" && !inst.Ephemeral { // the mark of an ephemeral one has it dropped
		_ = os.Remove(pending.Mark)
	}
}

// EndedArg is argv[1] of what a detached supervisor becomes when its instance has
// ended by itself and something is due: a binary must call Ended when it sees it.
const EndedArg = "ended"

// Ended does what is due after the end of an instance's run, and returns the
// process's exit status. It has no user: what it could not do is left to the next
// command.
func Ended(id string) int {
	cfg, err := config.Load("", false, "", os.Getenv)
	if err != nil {
		return 1
	}
	m, err := Open(cfg, false, func(string) {})
	if err == nil {
		err = m.ended(context.Background(), id)
	}
	if err != nil {
		return 1
	}
	return 0
}

func (m *Manager) ended(ctx context.Context, id string) error {
	// It still is where supervisors are, and would keep that group from going.
	_ = cgroup.Leave()
	defer m.removeGroups()
	// A root whose last instance was dropped meanwhile must not be made again.
	inst, err := m.store.Instances.Load(id)
	if err != nil {
		return err
	}
	if err := m.Enter(ctx); err != nil { // most often that has done it already
		return err
	}
	defer m.Close()
	return m.finishRun(ctx, inst, false)
}

// finishRun does what is due after a run, unless another command did or began a
// new one. With force that new one ends with an ephemeral instance.
func (m *Manager) finishRun(ctx context.Context, inst *registry.Instance, force bool) error {
	var err error
	if inst.Ephemeral {
		_, err = m.Drop(ctx, inst, DropOptions{Force: force})
	} else {
		err = m.change(ctx, inst, func() error { return nil })
	}
	var gone *registry.NotFoundError
	if errors.As(err, &gone) { // somebody dropped it
		return nil
	}
	return err
}
