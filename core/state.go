// SPDX-License-Identifier: Apache-2.0

package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/registry"
	"firmwared/core/sandbox"
	"firmwared/core/spread"
	"firmwared/core/supervisor"
)

// State is where an instance is in its life.
type State string

// The states of an instance.
const (
	Unmounted State = "unmounted" // after a crash or a reboot; the next start mounts it
	Ready     State = "ready"     // mounted, not running
	Started   State = "started"
	Stopping  State = "stopping"
)

// InstanceInfo is what is shown of an instance; the names in JSON are promised.
type InstanceInfo struct {
	ID         string     `json:"id"`
	Name       string     `json:"name"`
	State      State      `json:"state"`
	Firmware   string     `json:"firmware"`
	FirmwareID string     `json:"firmware_id"`
	Workspace  string     `json:"workspace"`
	PID        *int       `json:"pid"`         // of pid 1, on the host
	ExitCode   *int       `json:"exit_code"`   // of the last run of this boot, 128+N for signal N
	ExitReason string     `json:"exit_reason"` // the same in words
	OOMKilled  int64      `json:"oom_killed"`  // processes of that run that the memory limit ended
	Started    *time.Time `json:"started"`
	Created    time.Time  `json:"created"`
	UnionHook  string     `json:"union_hook"`
	Ephemeral  bool       `json:"ephemeral"`
	// Walls are those of the run under way or of the last one of this boot:
	// apparmor, userns, apparmor+userns or none. Profile is the AppArmor profile,
	// FirstID the id of this machine that its root has in a user namespace.
	Walls      string              `json:"walls"`
	Profile    string              `json:"profile"`
	FirstID    *int                `json:"first_id"`
	Addresses  []string            `json:"addresses"` // of the network of the run under way, without lengths
	Properties map[string][]string `json:"properties"`
}

// status reads an instance's supervisor; one that cannot be read is none.
func (m *Manager) status(id string) supervisor.Status {
	st, err := supervisor.Read(m.at.runtime(id))
	if err != nil {
		return supervisor.Status{}
	}
	return st
}

// Info looks at an instance. It takes no lock and waits for nobody.
func (m *Manager) Info(inst *registry.Instance, firmwareName string) InstanceInfo {
	info := m.brief(inst, firmwareName)
	if w, found := m.readWalls(inst.ID); found {
		info.Walls, info.Profile = w.Confinement, w.Profile
		if w.IDs != nil {
			first := int(w.IDs.First)
			info.FirstID = &first
		}
	}
	if info.PID != nil {
		info.Addresses = append(info.Addresses, m.addresses(inst.ID)...)
	}
	return info
}

// brief is Info without the walls and the addresses, each of which is a file more to read.
func (m *Manager) brief(inst *registry.Instance, firmwareName string) InstanceInfo {
	info := InstanceInfo{
		ID: inst.ID, Name: inst.Name, Firmware: firmwareName, FirmwareID: inst.Firmware,
		Workspace: m.at.workspace(inst.ID), Created: inst.Created, UnionHook: inst.Union,
		Ephemeral: inst.Ephemeral, Properties: inst.Properties, State: Unmounted, Addresses: []string{},
	}
	if info.Properties == nil {
		info.Properties = map[string][]string{}
	}
	st := m.status(inst.ID)
	switch {
	case st.State == supervisor.StateStopping:
		info.State = Stopping
	case st.Alive():
		info.State = Started
	default:
		if u, found := m.readUnion(inst.ID); found && m.unionMounted(inst.ID, u) {
			info.State = Ready
		}
	}
	if st.Alive() && st.PID > 0 {
		info.PID = &st.PID
	}
	if !st.StartedAt.IsZero() {
		info.Started = &st.StartedAt
	}
	if st.Exit != nil {
		code := st.Exit.Status()
		info.ExitCode, info.ExitReason, info.OOMKilled = &code, exitReason(*st.Exit), st.Exit.OOMKilled
	}
	return info
}

// exitReason tells how pid 1 ended in words.
func exitReason(e supervisor.Exit) string {
	memory := supervisor.ReasonOutOfMemory
	if e.MemoryMax > 0 {
		memory = fmt.Sprintf("%s (limit %s)", memory, showSize(e.MemoryMax))
	}
	reason := e.Reason
	switch e.Reason {
	case supervisor.ReasonOutOfMemory:
		return memory
	case sandbox.ReasonExited:
		reason = fmt.Sprintf("exited with status %d", e.Code)
	case sandbox.ReasonSignal:
		reason = fmt.Sprintf("killed by %s", unix.SignalName(syscall.Signal(e.Signal)))
	}
	if e.OOMKilled > 0 {
		reason += fmt.Sprintf("; %d killed before: %s", e.OOMKilled, memory)
	}
	return reason
}

// Instances are the records of all instances, in the order of names. Broken ones are
// named in the error beside the others.
func (m *Manager) Instances() ([]*registry.Instance, error) { return m.store.Instances.All() }

// List looks at every instance, in the order of names. Broken records are named
// in the error beside the others.
func (m *Manager) List() ([]InstanceInfo, error) { return m.list(m.Info) }

// ListBrief is List without walls, profiles, first ids and addresses.
func (m *Manager) ListBrief() ([]InstanceInfo, error) { return m.list(m.brief) }

func (m *Manager) list(look func(inst *registry.Instance, firmwareName string) InstanceInfo) ([]InstanceInfo, error) {
	all, broken := m.store.Instances.All()
	firmwares, brokenFirmwares := m.store.Firmwares.All()
	names := map[string]string{}
	for _, fw := range firmwares {
		names[fw.ID] = fw.Name
	}
	infos := make([]InstanceInfo, len(all))
	spread.Over(len(all), func(i int) { infos[i] = look(all[i], names[all[i].Firmware]) })
	return infos, errors.Join(broken, brokenFirmwares)
}

// Show looks at one instance.
func (m *Manager) Show(inst *registry.Instance) InstanceInfo {
	name := ""
	if fw, err := m.store.Firmwares.Load(inst.Firmware); err == nil {
		name = fw.Name
	}
	return m.Info(inst, name)
}

// shown are the keys that `get` answers from what the program knows; they cannot
// be set.
var shown = []struct {
	key  string
	from func(InstanceInfo) []string
}{
	{"id", func(i InstanceInfo) []string { return []string{i.ID} }},
	{"name", func(i InstanceInfo) []string { return []string{i.Name} }},
	{"state", func(i InstanceInfo) []string { return []string{string(i.State)} }},
	{"firmware", func(i InstanceInfo) []string { return []string{i.Firmware} }},
	{"firmware_id", func(i InstanceInfo) []string { return []string{i.FirmwareID} }},
	{"workspace", func(i InstanceInfo) []string { return []string{i.Workspace} }},
	{"pid", func(i InstanceInfo) []string { return number(i.PID) }},
	{"exit_code", func(i InstanceInfo) []string { return number(i.ExitCode) }},
	{"exit_reason", func(i InstanceInfo) []string { return []string{i.ExitReason} }},
	{"created", func(i InstanceInfo) []string { return moment(&i.Created) }},
	{"started", func(i InstanceInfo) []string { return moment(i.Started) }},
	{"union_hook", func(i InstanceInfo) []string { return []string{i.UnionHook} }},
	{"walls", func(i InstanceInfo) []string { return []string{i.Walls} }},
	{"first_id", func(i InstanceInfo) []string { return number(i.FirstID) }},
	{"addresses", func(i InstanceInfo) []string { return i.Addresses }},
	{"ephemeral", func(i InstanceInfo) []string { return []string{fmt.Sprint(i.Ephemeral)} }},
}

func number(n *int) []string {
	if n == nil {
		return nil
	}
	return []string{fmt.Sprint(*n)}
}

func moment(t *time.Time) []string {
	if t == nil {
		return nil
	}
	return []string{t.Format(time.RFC3339)}
}

func isShown(key string) bool {
	for _, s := range shown {
		if s.key == key {
			return true
		}
	}
	return false
}

// Get is the value of one property, shown or set, as words.
func (m *Manager) Get(inst *registry.Instance, key string) ([]string, error) {
	for _, s := range shown {
		if s.key == key {
			return s.from(m.Show(inst)), nil
		}
	}
	words, set := inst.Properties[key]
	if _, known := findProperty(key); set || known {
		return words, nil
	}
	var has []string
	for _, s := range shown {
		has = append(has, s.key)
	}
	has = slices.Concat(has, sortedKeys(inst.Properties))
	return nil, fmt.Errorf("instance %s has no property %q (it has: %s)", inst.Name, key, strings.Join(has, ", "))
}

// Instance finds an instance by name, id or unique prefix of its id.
func (m *Manager) Instance(key string) (*registry.Instance, error) {
	return m.store.Instances.Find(key)
}

// Firmware finds a firmware by name, id or unique prefix of its id.
func (m *Manager) Firmware(key string) (*registry.Firmware, error) {
	return m.store.Firmwares.Find(key)
}
