// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"firmwared/core/apparmor"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
	"firmwared/core/sandbox"
)

// plan is which walls an instance is to have. Capabilities, the seccomp filter and
// the device filter are below each.
type plan struct {
	unconfined       bool // no wall at all
	appArmor, userNS bool
	missing          []string // why a wall is not there
}

// confinement is the plan as hooks get it.
func (p plan) confinement() string {
	switch {
	case p.appArmor && p.userNS:
		return "apparmor+userns"
	case p.appArmor:
		return "apparmor"
	case p.userNS:
		return "userns"
	}
	return "none"
}

// planWalls decides by the settings and by what the machine has. With an error,
// which says that a wall is required and not there, the plan is without it.
func (m *Manager) planWalls(unconfined bool) (p plan, err error) {
	if unconfined {
		return plan{unconfined: true}, nil
	}
	lacks := apparmor.Enforces()
	switch {
	case m.cfg.AppArmor == "off":
		p.missing = append(p.missing, "AppArmor is switched off by the setting apparmor")
	case lacks == nil:
		p.appArmor = true
	default:
		p.missing = append(p.missing, lacks.Error())
		if m.cfg.AppArmor == "required" {
			err = fmt.Errorf("AppArmor is required (setting apparmor), but %w", lacks)
		} else if apparmor.KernelEnforces() == nil {
			m.notice(fmt.Sprintf("warning: this kernel has AppArmor, but %v", lacks))
		}
	}
	p.userNS = m.cfg.UserNS == "on" || m.cfg.UserNS == "auto" && !p.appArmor
	if m.cfg.UserNS == "off" {
		p.missing = append(p.missing, "user namespaces are switched off by the setting userns")
	}
	return p, err
}

// walls is what the last run of an instance was under: its run-time file
// walls.json.
type walls struct {
	Confinement string       `json:"confinement"`
	Unconfined  bool         `json:"unconfined,omitempty"`
	Profile     string       `json:"profile,omitempty"` // as the kernel knows it
	Template    string       `json:"template,omitempty"`
	IDs         *sandbox.IDs `json:"ids,omitempty"`
	CapsAdd     []string     `json:"caps_add,omitempty"`
	CapsDrop    []string     `json:"caps_drop,omitempty"`
	SocketCall  bool         `json:"socketcall,omitempty"`
}

func (m *Manager) wallsFile(id string) string { return filepath.Join(m.at.runtime(id), "walls.json") }

func (m *Manager) readWalls(id string) (w walls, found bool) {
	return w, registry.ReadRuntime(m.wallsFile(id), &w)
}

// raiseWalls makes ready what an instance is to run under, and notes it. Its union
// is mounted by this plan. The caller holds the instance exclusively.
func (m *Manager) raiseWalls(ctx context.Context, inst *registry.Instance, props map[string][]string, p plan) (ids *sandbox.IDs, c sandbox.Confinement, err error) {
	u, _ := m.readUnion(inst.ID)
	if u.NoUserNS != "" {
		p.userNS = false
		p.missing = append(p.missing, u.NoUserNS)
	}
	now := walls{Confinement: p.confinement(), Unconfined: p.unconfined, IDs: u.IDs}
	if p.unconfined {
		c.None = true
		return nil, c, m.noteWalls(ctx, inst, now)
	}
	if !p.appArmor && !p.userNS {
		return nil, c, fmt.Errorf("nothing would keep it from this machine: %s; --unconfined starts it all the same", strings.Join(p.missing, "; "))
	}
	c.CapsAdd, c.CapsDrop = props["caps_add"], props["caps_drop"]
	if diskLimitOf(props) != (rwlayer.DiskLimit{}) && !p.userNS {
		// Who has it is not held to the limit, and with it goes the call that moves files out of it.
		c.CapsDrop = append(slices.Clone(c.CapsDrop), "sys_resource")
	}
	now.CapsAdd, now.CapsDrop = c.CapsAdd, c.CapsDrop
	c.SocketCall = slices.Equal(props["socketcall"], []string{"on"})
	now.SocketCall = c.SocketCall
	for _, text := range props["device_allow"] {
		device, err := sandbox.ParseLentDevice(text, true)
		if err != nil {
			return nil, c, err
		}
		c.Devices = append(c.Devices, device)
	}
	if !p.appArmor {
		return u.IDs, c, m.noteWalls(ctx, inst, now)
	}
	profile, err := m.renderProfile(inst, props)
	if err != nil {
		return nil, c, err
	}
	now.Profile, now.Template, c.Profile = profile.Name, profile.Template, profile.Name
	return u.IDs, c, m.withProfiles(ctx, func() error {
		// Noted first: what is noted is not unloaded.
		if err := registry.WriteRuntime(m.wallsFile(inst.ID), now); err != nil {
			return err
		}
		return errors.Join(m.profiles().Load(ctx, profile), m.unloadUnused())
	})
}

// warnOfSockets tells that a 32-bit x86 program will get no sockets: without
// AppArmor only the call as a whole can be denied (see the group socketcall in
// core/sandbox/seccomp.go).
func (m *Manager) warnOfSockets(inst *registry.Instance, program string, c sandbox.Confinement) {
	if runtime.GOARCH == "amd64" && !c.None && c.Profile == "" && !c.SocketCall && m.foreignMachine(inst, program) == "386" {
		m.notice(fmt.Sprintf("warning: instance %s: %s is a 32-bit program, which may get no sockets without AppArmor (firmwared set %s socketcall=on gives it them, and vsock)",
			inst.Name, program, inst.Name))
	}
}

// noteWalls is for a run without a profile.
func (m *Manager) noteWalls(ctx context.Context, inst *registry.Instance, now walls) error {
	before, _ := m.readWalls(inst.ID)
	if err := registry.WriteRuntime(m.wallsFile(inst.ID), now); err != nil {
		return err
	}
	if before.Profile == "" {
		return nil
	}
	return m.UnloadUnusedProfiles(ctx)
}
