// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/moby/sys/capability"

	"firmwared/core/cgroup"
	"firmwared/core/console"
	"firmwared/core/hook"
	"firmwared/core/registry"
	"firmwared/core/sandbox"
	"firmwared/core/supervisor"
)

// InstanceDetails is all that is shown of one instance; the names in JSON are
// promised. What only a running instance has is null otherwise.
type InstanceDetails struct {
	InstanceInfo
	SupervisorPID *int             `json:"supervisor_pid"`
	Union         MountInfo        `json:"union"`
	Lowers        []LowerInfo      `json:"lowers"` // top first
	Start         *StartOptions    `json:"start"`  // options of the run, or of the last one since boot
	Confinement   *ConfinementInfo `json:"confinement"`
	Network       *NetworkInfo     `json:"network"`
	Limits        *LimitsInfo      `json:"limits"` // in force
	Cgroups       []string         `json:"cgroups"`
	Snapshots     []Snapshot       `json:"snapshots"`
	Log           LogInfo          `json:"log"`
	HookError     *HookError       `json:"hook_error"` // the last since boot
}

// MountInfo is a mount that a hook made.
type MountInfo struct {
	Path    string `json:"path"`
	Hook    string `json:"hook"`
	Mounted bool   `json:"mounted"`
}

// LowerInfo is a lower that an instance stands on.
type LowerInfo struct {
	MountInfo
	Firmware   string `json:"firmware"`
	Generation string `json:"generation"`
	Source     string `json:"source"` // current, outdated, touched, gone
}

// ConfinementInfo is what the kernel says of pid 1.
type ConfinementInfo struct {
	AppArmor      string   `json:"apparmor"` // profile and mode, empty: none
	Seccomp       bool     `json:"seccomp"`
	UserNamespace bool     `json:"user_namespace"`
	Capabilities  []string `json:"capabilities"` // that pid 1 can have at most
}

// NetworkInfo is the network as pid 1 sees it.
type NetworkInfo struct {
	Mode      string   `json:"mode"`      // property net
	Addresses []string `json:"addresses"` // INTERFACE ADDRESS/BITS; not those of the host
	// Of a network that a hook made; empty where there is none.
	HostInterface string   `json:"host_interface"` // the end outside
	HostAddress   string   `json:"host_address"`   // its own, with the length
	Gateway       string   `json:"gateway"`
	Reachable     string   `json:"reachable"` // by what the host reaches it: with net_address another one than inside
	Published     []string `json:"published"` // HOST:PORT->PORT
}

// LimitsInfo are limits; null is none.
type LimitsInfo struct {
	MemoryMax *int64   `json:"memory_max"` // bytes
	CPUMax    *float64 `json:"cpu_max"`    // CPUs
	PidsMax   *int64   `json:"pids_max"`
}

// LogInfo is the console log.
type LogInfo struct {
	Path    string `json:"path"`
	Bytes   int64  `json:"bytes"`   // that are kept
	Dropped int64  `json:"dropped"` // by log_max, all runs together
	Lost    int64  `json:"lost"`    // that the disk did not take, in the last run
}

// askLimit is how long a supervisor that hangs may hold up those who look.
const askLimit = 500 * time.Millisecond

// Details looks at one instance closely. It takes no lock, and waits for nobody
// but askLimit for the supervisor.
func (m *Manager) Details(inst *registry.Instance) InstanceDetails {
	st := m.status(inst.ID)
	if st.Alive() {
		st.LogLost = m.logLost(inst.ID)
	}
	d := InstanceDetails{InstanceInfo: m.Show(inst), Lowers: []LowerInfo{}, Cgroups: []string{}, Log: m.logInfo(inst.ID, st)}
	d.Snapshots, _ = m.Snapshots(inst) // `snapshot --list` tells of broken ones
	u, found := m.readUnion(inst.ID)
	d.Union = MountInfo{Path: m.at.union(inst.ID), Hook: inst.Union, Mounted: found && m.unionMounted(inst.ID, u)}
	for _, l := range u.Lowers {
		d.Lowers = append(d.Lowers, m.lowerInfo(l))
	}
	var o StartOptions
	if registry.ReadRuntime(m.startFile(inst.ID), &o) {
		d.Start = &o
	}
	var failed HookError
	if registry.ReadRuntime(m.hookErrorFile(hook.LayerUnion, inst.ID), &failed) {
		d.HookError = &failed
	}
	if !st.Alive() {
		return d
	}
	d.SupervisorPID = &st.SupervisorPID
	d.Cgroups = cgroup.Paths(st.Cgroup...)
	d.Limits = limitsInfo(cgroup.ReadUsage(st.Cgroup...).Limits)
	if st.PID > 0 {
		d.Confinement = confinementOf(st.PID)
		d.Network = networkOf(m.properties(inst), st.PID)
		if n, found := m.readNet(inst.ID); found && n.Is != nil {
			n.show(d.Network)
		}
	}
	return d
}

// logLost asks the supervisor, which tells it to the status file only at the end.
func (m *Manager) logLost(id string) int64 {
	ctx, cancel := context.WithTimeout(context.Background(), askLimit)
	defer cancel()
	st, _ := supervisor.Info(ctx, m.at.runtime(id))
	return st.LogLost
}

func limitsInfo(l cgroup.Limits) *LimitsInfo {
	info := &LimitsInfo{MemoryMax: unlessZero(l.Memory), PidsMax: unlessZero(l.Pids)}
	if l.CPUQuota > 0 {
		cpus := float64(l.CPUQuota) / float64(l.CPUPeriod)
		info.CPUMax = &cpus
	}
	return info
}

func (m *Manager) lowerInfo(l lower) LowerInfo {
	info := LowerInfo{
		MountInfo: MountInfo{Path: m.lowerPoint(l), Hook: l.Hook, Mounted: m.isMounted(l)},
		Firmware:  l.Firmware, Generation: l.Generation, Source: "gone",
	}
	fw, err := m.store.Firmwares.Load(l.Firmware)
	if err != nil {
		return info
	}
	info.Firmware = fw.Name
	stat, err := os.Stat(fw.Path)
	if err != nil {
		return info
	}
	st := statOf(stat)
	switch {
	case fw.Image && st != *fw.Stat:
		info.Source = "touched" // whether its content is the same only reading it tells
	case sourceGeneration(fw, st) == l.Generation:
		info.Source = "current"
	default:
		info.Source = "outdated"
	}
	return info
}

func (m *Manager) logInfo(id string, st supervisor.Status) LogInfo {
	info := LogInfo{Path: m.at.log(id), Lost: st.LogLost}
	r, err := console.OpenLogReader(info.Path)
	if err != nil {
		return info // it never ran
	}
	defer r.Close()
	if end, err := r.End(); err == nil {
		info.Dropped, info.Bytes = r.Pos(), end-r.Pos()
	}
	return info
}

// confinementOf reads what the kernel tells of a process; nil if it ended.
func confinementOf(pid int) *ConfinementInfo {
	proc := fmt.Sprintf("/proc/%d/", pid)
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return nil
	}
	c := &ConfinementInfo{Capabilities: []string{}}
	for line := range bytes.Lines(status) {
		if mode, ok := bytes.CutPrefix(line, []byte("Seccomp:")); ok {
			c.Seccomp = string(bytes.TrimSpace(mode)) != "0"
		}
	}
	for _, attr := range []string{"attr/apparmor/current", "attr/current"} {
		if label, err := os.ReadFile(proc + attr); err == nil {
			c.AppArmor = strings.TrimRight(string(label), "\n\x00")
			break
		}
	}
	if c.AppArmor == "unconfined" {
		c.AppArmor = ""
	}
	ours, _ := os.Readlink("/proc/self/ns/user")
	theirs, err := os.Readlink(proc + "ns/user")
	c.UserNamespace = err == nil && ours != theirs
	if caps, err := capability.NewPid2(pid); err == nil && caps.Load() == nil {
		for _, known := range capability.ListKnown() {
			if caps.Get(capability.BOUNDING, known) {
				c.Capabilities = append(c.Capabilities, known.String())
			}
		}
	}
	slices.Sort(c.Capabilities)
	return c
}

// show adds what is known of a network that a hook made.
func (n *network) show(info *NetworkInfo) {
	info.HostInterface, info.Gateway = n.Is.HostInterface, n.Is.Gateway
	info.Published = append(info.Published, n.Is.Reach...)
	if info.HostInterface == "" {
		return
	}
	info.HostAddress = n.Vars[hook.VarNetHostAddress]
	if info.Reachable = bare(n.Vars[hook.VarNetTransit]); info.Reachable == "" {
		info.Reachable = bare(n.Is.Address)
	}
}

func networkOf(props map[string][]string, pid int) *NetworkInfo {
	n := &NetworkInfo{Mode: sandbox.NetNone, Addresses: []string{}, Published: []string{}}
	if words := props["net"]; len(words) > 0 {
		n.Mode = words[0]
	}
	if n.Mode != sandbox.NetHost {
		n.Addresses = append(n.Addresses, addressesIn(fmt.Sprintf("/proc/%d/ns/net", pid))...)
	}
	return n
}
