// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"firmwared/core/devicefilter"
	"firmwared/core/fault"
	"firmwared/core/registry"
	"firmwared/core/sandbox"
	"firmwared/core/supervisor"
)

// StartOptions are the RUN OPTIONS of the command line. They hold for one run,
// and for the restarts of it.
type StartOptions struct {
	Args       []string       `json:"args,omitempty"` // none: the property cmdline, then the configured one
	Env        []string       `json:"env,omitempty"`
	Cwd        string         `json:"cwd,omitempty"`
	User       string         `json:"user,omitempty"`
	Binds      []sandbox.Bind `json:"binds,omitempty"`
	Set        []string       `json:"set,omitempty"`
	Unconfined bool           `json:"unconfined,omitempty"`
	Rows       uint16         `json:"-"`
	Cols       uint16         `json:"-"`
}

// startFile keeps the options of the run under way, for restart.
func (m *Manager) startFile(id string) string {
	return filepath.Join(m.at.runtime(id), "start.json")
}

// Start runs pid 1 under a supervisor of its own and returns once it has been
// exec'ed. Needs Enter.
func (m *Manager) Start(ctx context.Context, inst *registry.Instance, o StartOptions) error {
	return m.change(ctx, inst, func() error {
		return m.launch(ctx, inst, o)
	})
}

// Restart kills an instance if it runs, makes its union anew and starts it with
// the options it was started with. Needs Enter.
func (m *Manager) Restart(ctx context.Context, inst *registry.Instance, k KillOptions) error {
	return m.change(ctx, inst, func() error {
		var o StartOptions
		registry.ReadRuntime(m.startFile(inst.ID), &o)
		if err := m.kill(ctx, inst, k); err != nil {
			return err
		}
		fault.Point("restart.killed")
		return m.launch(ctx, inst, o)
	})
}

func (m *Manager) launch(ctx context.Context, inst *registry.Instance, o StartOptions) error {
	spec, err := m.readyToStart(ctx, inst, o, true)
	if err == nil {
		err = m.beginDetached(ctx, inst, spec, func(spec supervisor.Spec) (int, error) {
			st, err := supervisor.Launch(ctx, spec)
			m.warnOfDevices(inst, st)
			return st.PID, err
		})
	}
	return m.explainStart(inst, err)
}

// warnOfDevices tells that one of the walls is not there; the others keep the
// instance from devices: nodev mounts, and the user namespace or the profile.
func (m *Manager) warnOfDevices(inst *registry.Instance, st supervisor.Status) {
	if st.NoDeviceFilter != "" {
		m.notice(fmt.Sprintf("warning: instance %s: %s", inst.Name, st.NoDeviceFilter))
	}
}

// readyToStart mounts an instance as needed and says what to run in it. The
// caller holds the instance exclusively.
func (m *Manager) readyToStart(ctx context.Context, inst *registry.Instance, o StartOptions, terminal bool) (spec supervisor.Spec, err error) {
	if m.status(inst.ID).Alive() {
		return spec, errStarted
	}
	set, err := parseProperties(o.Set)
	if err != nil {
		return spec, err
	}
	props := m.effective(inst, set)
	limits, err := limitsOf(props)
	if err != nil {
		return spec, err
	}

	mark, err := m.markInstance(inst.ID)
	if err != nil {
		return spec, err
	}
	defer mark.End()
	m.clearProcess(ctx, inst.ID)
	p, err := m.planWalls(o.Unconfined)
	if err != nil {
		return spec, err
	}
	if err := m.ensureUnion(ctx, inst, p, false, reasonRemount); err != nil {
		return spec, err
	}
	if err := m.limitLayer(inst, diskLimitOf(props)); err != nil {
		return spec, err
	}
	fault.Point("start.limited")
	ids, confine, err := m.raiseWalls(ctx, inst, props, p)
	if err != nil {
		return spec, err
	}
	network, err := m.planNet(ctx, inst, props)
	if err != nil {
		return spec, err
	}
	if err := registry.WriteRuntime(m.startFile(inst.ID), o); err != nil {
		return spec, err
	}
	fault.Point("start.mounted")
	u, _ := m.readUnion(inst.ID)
	u.Used = true
	if err := registry.WriteRuntime(m.at.unionFile(inst.ID), u); err != nil {
		return spec, err
	}
	fault.Point("start.ready")
	spec = supervisor.Spec{
		ID:      inst.ID,
		Name:    inst.Name,
		Dir:     m.at.runtime(inst.ID),
		Log:     m.at.log(inst.ID),
		LogMax:  m.logMax(props),
		Cgroup:  m.cgroup(inst.ID),
		Events:  m.events.Path,
		Subject: m.subject(inst),
		Limits:  limits,
		Sandbox: m.sandbox(inst, props, o, terminal),
	}
	spec.Sandbox.IDs, spec.Sandbox.Confine, spec.AttachDevices = ids, confine, devicefilter.Attach
	m.warnOfSockets(inst, spec.Sandbox.Args[0], confine)
	if network != nil {
		spec.Sandbox.Net = sandbox.NetNone
		spec.RaiseNet = func(namespace *os.File) ([]string, error) { return m.raiseNet(ctx, inst, network, namespace) }
	}
	return spec, nil
}

// properties are the effective ones of the run under way, or of the last one.
func (m *Manager) properties(inst *registry.Instance) map[string][]string {
	var o StartOptions
	registry.ReadRuntime(m.startFile(inst.ID), &o)
	set, _ := parseProperties(o.Set) // checked at the start
	return m.effective(inst, set)
}

// effective are the properties of a run: the record's, under those of its start.
func (m *Manager) effective(inst *registry.Instance, set map[string][]string) map[string][]string {
	props := map[string][]string{"cmdline": m.cfg.Cmdline}
	maps.Copy(props, inst.Properties)
	maps.Copy(props, set)
	return props
}

func (m *Manager) sandbox(inst *registry.Instance, props map[string][]string, o StartOptions, terminal bool) sandbox.Spec {
	one := func(option, key string) string {
		if option == "" && len(props[key]) > 0 {
			return props[key][0]
		}
		return option
	}
	args := o.Args
	if len(args) == 0 {
		args = props["cmdline"]
	}
	name := one("", "hostname")
	if name == "" {
		name = strings.ReplaceAll(inst.Name, "_", "-") // '_' is no letter of a host name
	}
	if terminal && (o.Rows == 0 || o.Cols == 0) {
		o.Rows, o.Cols = 24, 80 // until somebody with a window of his own attaches
	}
	return sandbox.Spec{
		Program:   smallProgram(),
		Root:      m.at.union(inst.ID),
		Hostname:  name,
		Args:      args,
		Env:       append(append([]string{}, props["env"]...), o.Env...),
		Cwd:       one(o.Cwd, "cwd"),
		User:      one(o.User, "user"),
		Terminal:  terminal,
		Rows:      o.Rows,
		Cols:      o.Cols,
		APIMounts: one("", "api_mounts"),
		Binds:     o.Binds,
		Net:       one("", "net"),
	}
}

func (m *Manager) cgroup(id string) []string {
	return []string{cgroupRoot, m.at.key, "i-" + id}
}

// clearProcess removes what a supervisor that was killed could not.
func (m *Manager) clearProcess(ctx context.Context, id string) {
	if err := supervisor.Clean(ctx, m.at.runtime(id)); err != nil {
		m.notice(fmt.Sprintf("warning: %v", err))
	}
}

var errStarted = errors.New("it is started already")

// explainStart puts an error of a start in the words of the command.
func (m *Manager) explainStart(inst *registry.Instance, err error) error {
	if err == nil {
		return nil
	}
	if isFull(err) {
		err = explainMount(err)
	}
	var exec *sandbox.ExecError
	if errors.As(err, &exec) && errors.Is(err, syscall.ENOEXEC) {
		if machine := m.foreignMachine(inst, exec.Path); machine != "" {
			err = fmt.Errorf("%w: it is for %s, and this machine has no binfmt_misc handler for that (install qemu-user-static)", err, machine)
		}
	}
	return fmt.Errorf("cannot start instance %s: %w", inst.Name, err)
}

// KillOptions are what `kill` takes.
type KillOptions struct {
	Signal  syscall.Signal // to pid 1, before everything is killed; 0: the property stop_signal, else none
	Timeout time.Duration  // how long pid 1 may take to end by itself
}

// Kill ends all processes of an instance; its rw layer is kept. It tells whether
// anything was running. Needs Enter.
func (m *Manager) Kill(ctx context.Context, inst *registry.Instance, o KillOptions) (ran bool, err error) {
	err = m.change(ctx, inst, func() error {
		ran = m.status(inst.ID).Alive()
		return m.kill(ctx, inst, o)
	})
	return ran, err
}

func (m *Manager) kill(ctx context.Context, inst *registry.Instance, o KillOptions) error {
	if m.status(inst.ID).Alive() {
		if word := m.properties(inst)["stop_signal"]; o.Signal == 0 && len(word) > 0 {
			o.Signal, _ = ParseSignal(word[0]) // checked when it was set
		}
		fault.Point("kill.begun")
		if err := supervisor.Kill(ctx, m.at.runtime(inst.ID), o.Signal, o.Timeout); err != nil {
			return fmt.Errorf("cannot kill instance %s: %w", inst.Name, err)
		}
		fault.Point("kill.done")
	}
	m.settle(ctx, inst)
	return nil
}
