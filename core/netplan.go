// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
	"firmwared/core/sandbox"
)

// vethHook is the hook that the value veth of the property net means.
const (
	netVeth  = "veth"
	vethHook = "net"
)

// netPrefix begins the names of properties about the network; netOwn are those that
// are not options of a hook.
const netPrefix = "net_"

var netOwn = []string{"net_interface", "net_address"}

// netHookOf is the hook that makes the network, or "" when none does.
func netHookOf(props map[string][]string) string {
	if len(props["net"]) == 0 {
		return ""
	}
	switch name := props["net"][0]; name {
	case sandbox.NetNone, sandbox.NetHost:
		return ""
	case netVeth:
		return vethHook
	default:
		return name
	}
}

func checkNet(name string) error {
	if !hook.ValidName(name) {
		return fmt.Errorf("%q is none of none, host, veth, nor the name of a hook", name)
	}
	return nil
}

func checkNetInterface(name string) error {
	if bad := hook.CheckInterface(name); bad != "" {
		return fmt.Errorf("it %s", bad)
	}
	if name == "lo" {
		return fmt.Errorf("%q is there already", name)
	}
	return nil
}

// checkNetAddress takes an address that a host can have.
func checkNetAddress(text string) error {
	p, err := netip.ParsePrefix(text)
	switch {
	case err != nil || !p.Addr().Is4() || p.Bits() < 1:
		return fmt.Errorf("%q is not an IPv4 address with a length, as 192.168.1.1/24", text)
	case p.Bits() < 31 && p.Addr() == p.Masked().Addr():
		return fmt.Errorf("%q is the address of a network: a host has another one in it, as %s", text, netip.PrefixFrom(p.Addr().Next(), p.Bits()))
	case p.Addr().IsUnspecified() || p.Addr().IsLoopback() || p.Addr().IsMulticast():
		return fmt.Errorf("%q is no address that an interface can have", text)
	}
	return nil
}

// findNetHook looks at the hook of an instance's network, and at the properties that
// are its options.
func (m *Manager) findNetHook(ctx context.Context, props map[string][]string) (h hook.Hook, options map[string]string, err error) {
	if h, err = m.hooks.Find(netHookOf(props)); err != nil {
		return h, nil, err
	}
	d, err := m.runner.Describe(ctx, h)
	if err != nil {
		return h, nil, err
	}
	if !d.HasLayer(hook.LayerNet) {
		return h, nil, fmt.Errorf("hook %s makes no network (it has: %s)", h.Name, strings.Join(d.Layers, ", "))
	}
	options = map[string]string{}
	var unknown []string
	for _, key := range sortedKeys(props) {
		option, ours := strings.CutPrefix(key, netPrefix)
		switch {
		case !ours || slices.Contains(netOwn, key) || len(props[key]) == 0:
		case slices.Contains(d.Options, option):
			options[hook.OptionVar(option)] = strings.Join(props[key], " ")
		default:
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return h, options, nil
	}
	known := []string{}
	for _, option := range d.Options {
		known = append(known, netPrefix+option)
	}
	return h, nil, fmt.Errorf("network hook %s has no option %s (it has: %s)", h.Name, strings.Join(unknown, ", "), or(strings.Join(known, ", "), "none"))
}

// judgeNet says what is wrong with properties of the network, if set changes any, and
// warns of what is dangerous.
func (m *Manager) judgeNet(ctx context.Context, what string, props, set map[string][]string) error {
	if !slices.ContainsFunc(sortedKeys(set), func(key string) bool { return key == "net" || strings.HasPrefix(key, netPrefix) }) {
		return nil
	}
	if netHookOf(props) != "" {
		_, _, err := m.findNetHook(ctx, props)
		return err
	}
	if _, changed := set["net"]; changed {
		m.warnOfHostNet(what, props)
	}
	return nil
}

func (m *Manager) warnOfHostNet(what string, props map[string][]string) {
	if slices.Equal(props["net"], []string{sandbox.NetHost}) {
		m.notice(fmt.Sprintf("warning: %s: net=host is dangerous: it uses this machine's interfaces, and reaches what listens here on localhost or abstract sockets", what))
	}
}

// network is the network of a run: its run-time file net.json, which is there from
// before the hook is called first until its clean has succeeded.
type network struct {
	Hook   string            `json:"hook"`
	HostNS uint64            `json:"host_namespace"` // where its outer ends are
	Vars   map[string]string `json:"vars"`           // what the hook gets
	Is     *hook.Network     `json:"is,omitempty"`   // once it is up
}

func (m *Manager) netFile(id string) string  { return filepath.Join(m.at.runtime(id), "net.json") }
func (m *Manager) netState(id string) string { return filepath.Join(m.at.runtime(id), "net") }
func (m *Manager) leases() string            { return filepath.Join(m.at.runBase, "net", "leases") }

// netPin is where an instance's network namespace is bound. It lies in the state
// directory's own mount, so that its end reaches the copies of other namespaces.
func (m *Manager) netPin(id string) string { return filepath.Join(m.at.workspace(id), "netns") }

func (m *Manager) readNet(id string) (n network, found bool) {
	return n, registry.ReadRuntime(m.netFile(id), &n)
}

// planNet says what the network of a run will be; nil if no hook makes it. The
// caller holds the instance exclusively.
func (m *Manager) planNet(ctx context.Context, inst *registry.Instance, props map[string][]string) (*network, error) {
	m.warnOfHostNet("instance "+inst.Name, props)
	if netHookOf(props) == "" {
		return nil, nil
	}
	h, options, err := m.findNetHook(ctx, props)
	if err != nil {
		return nil, err
	}
	if exists(m.netFile(inst.ID)) {
		return nil, fmt.Errorf("the network of its last run is still there, because hook %s could not take it away", h.Name)
	}
	own, err := m.allocateNet(inst)
	if err != nil {
		return nil, err
	}
	n := &network{Hook: h.Name, Vars: m.netVars(inst, props, own)}
	for name, value := range options {
		n.Vars[name] = value
	}
	n.HostNS, err = hostNetNS()
	return n, err
}

// netVars are the variables of an instance's network hook.
func (m *Manager) netVars(inst *registry.Instance, props map[string][]string, own netip.Prefix) map[string]string {
	host := own.Addr().Next()
	inside := host.Next()
	vars := map[string]string{
		hook.VarID: inst.ID, hook.VarName: inst.Name, hook.VarState: m.netState(inst.ID), hook.VarNetLeases: m.leases(),
		hook.VarNetIf: "eth0", hook.VarNetHostIf: "fw" + inst.ID,
		hook.VarNetHostAddress:  netip.PrefixFrom(host, netBits).String(),
		hook.VarNetAddress:      netip.PrefixFrom(inside, netBits).String(),
		hook.VarNetHostAddress6: m.uniqueLocal(host),
		hook.VarNetAddress6:     m.uniqueLocal(inside),
	}
	if name := props["net_interface"]; len(name) > 0 {
		vars[hook.VarNetIf] = name[0]
	}
	if fixed := props["net_address"]; len(fixed) > 0 {
		vars[hook.VarNetTransit], vars[hook.VarNetAddress], vars[hook.VarNetFixed] = vars[hook.VarNetAddress], fixed[0], "yes"
	}
	return vars
}

// uniqueLocal is the IPv6 address beside an IPv4 one: the latter's bits in a /48 of
// the root's own (RFC 4193), whose hash keeps two roots apart even between machines
// that are bridged.
func (m *Manager) uniqueLocal(beside netip.Addr) string {
	machine, _ := os.ReadFile("/etc/machine-id")
	sum := sha256.Sum256(append(machine, m.at.state...))
	var b [16]byte
	b[0] = 0xfd
	copy(b[1:6], sum[:])
	v4 := beside.As4()
	copy(b[12:], v4[:])
	return netip.PrefixFrom(netip.AddrFrom16(b), 96+netBits).String()
}

// makeLeases makes the directory that network hooks share, and empties that of an
// earlier boot. The caller holds netsDir.
func (m *Manager) makeLeases() error {
	mark := filepath.Join(filepath.Dir(m.leases()), "boot.json")
	var now bool
	if !registry.ReadRuntime(mark, &now) {
		if err := mount.RemoveAll(m.leases()); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(m.leases(), 0o700); err != nil || now {
		return err
	}
	return registry.WriteRuntime(mark, true)
}
