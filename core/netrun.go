// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"

	"firmwared/core/fault"
	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
)

// raiseNet makes the network of an instance whose namespace is there and empty, and
// returns what pid 1 is told of it. What is made when it fails, cleanNet takes away.
// The caller holds the instance exclusively.
func (m *Manager) raiseNet(ctx context.Context, inst *registry.Instance, n *network, namespace *os.File) ([]string, error) {
	name := n.Vars[hook.VarNetHostIf]
	if hasInterface(name) {
		return nil, fmt.Errorf("this machine has an interface %s already: remove it (ip link del %s)", name, name)
	}
	state, pin := m.netState(inst.ID), m.netPin(inst.ID)
	if err := errors.Join(mount.RemoveAll(state), os.MkdirAll(state, 0o700)); err != nil {
		return nil, err
	}
	if err := registry.WriteRuntime(m.netFile(inst.ID), n); err != nil {
		return nil, err
	}
	fault.Point("net.recorded")
	if err := mount.Pin(namespace, pin); err != nil {
		return nil, err
	}
	fault.Point("net.pinned")
	call, err := m.netCall(inst, n)
	if err != nil {
		return nil, err
	}
	call.Action = hook.ActionCreate
	if _, err := m.callLayer(ctx, call); err != nil {
		return nil, err
	}
	fault.Point("net.created")
	call.Action = hook.ActionConfigure
	said, err := m.callLayer(ctx, call)
	if err != nil {
		return nil, err
	}
	if err := n.verify(said, pin); err != nil {
		err = fmt.Errorf("%s: hook %s reported success, but %w", call.Object, n.Hook, err)
		m.keepHookError(call, err)
		return nil, err
	}
	if err := registry.WriteRuntime(m.netFile(inst.ID), n); err != nil {
		return nil, err
	}
	fault.Point("net.configured")
	return n.environ(), nil
}

// netCall is a call of the hook that makes a network, as far as its namespace exists.
func (m *Manager) netCall(inst *registry.Instance, n *network) (hook.Call, error) {
	h, err := m.hooks.Find(n.Hook)
	if err != nil {
		return hook.Call{}, fmt.Errorf("cannot call the network hook of instance %s: %w", inst.Name, err)
	}
	vars := maps.Clone(n.Vars)
	if pin := m.netPin(inst.ID); exists(pin) && !mount.Free(pin) {
		vars[hook.VarNetns] = pin
	}
	return hook.Call{Hook: h, Layer: hook.LayerNet, Object: "instance " + inst.Name, Vars: vars}, nil
}

// verify looks at what a hook did by what it said, in the namespace at pin, and notes
// what is so.
func (n *network) verify(said []byte, pin string) error {
	is, err := hook.ParseNetwork(said)
	if err != nil {
		return err
	}
	if is.Interface == "" {
		is.Interface = n.Vars[hook.VarNetIf]
	}
	all, err := interfacesIn(pin)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(all, func(i netInterface) bool { return i.name == is.Interface })
	if i < 0 {
		return fmt.Errorf("the instance has no interface %s", is.Interface)
	}
	if !all[i].up {
		return fmt.Errorf("the instance's interface %s is down", is.Interface)
	}
	has := func(address string) bool { return slices.Contains(all[i].addresses, address) }
	must := []string{is.Address, is.Address6}
	if is.Address == "" && is.Address6 == "" {
		must = []string{n.Vars[hook.VarNetAddress]}
	}
	for _, address := range must {
		if address != "" && !has(address) {
			return fmt.Errorf("the instance's interface %s does not have the address %s", is.Interface, address)
		}
	}
	for _, one := range []struct {
		is      *string
		planned string
	}{{&is.Address, n.Vars[hook.VarNetAddress]}, {&is.Address6, n.Vars[hook.VarNetAddress6]}} {
		if *one.is == "" && has(one.planned) {
			*one.is = one.planned
		}
	}
	return n.note(is)
}

// note completes what a hook said with what it need not say.
func (n *network) note(is hook.Network) error {
	if is.HostInterface == "" {
		if hasInterface(n.Vars[hook.VarNetHostIf]) {
			is.HostInterface = n.Vars[hook.VarNetHostIf]
		}
	} else if !hasInterface(is.HostInterface) {
		return fmt.Errorf("this machine has no interface %s", is.HostInterface)
	}
	if is.Gateway == "" && is.HostInterface != "" {
		is.Gateway = bare(n.Vars[hook.VarNetHostAddress])
	}
	n.Is = &is
	return nil
}

// bare is an address without its length.
func bare(address string) string {
	if p, err := netip.ParsePrefix(address); err == nil {
		return p.Addr().String()
	}
	return ""
}

// addresses are those of the network of an instance that runs.
func (m *Manager) addresses(id string) (all []string) {
	n, _ := m.readNet(id)
	if n.Is == nil {
		return nil
	}
	for _, address := range []string{n.Is.Address, n.Is.Address6} {
		if address != "" {
			all = append(all, bare(address))
		}
	}
	return all
}

// environ is what pid 1 is told of its network.
func (n *network) environ() []string {
	var env []string
	if n.Is == nil {
		return env
	}
	for _, v := range [][2]string{
		{"FIRMWARED_ADDRESS", bare(n.Is.Address)}, {"FIRMWARED_ADDRESS6", bare(n.Is.Address6)}, {"FIRMWARED_GATEWAY", n.Is.Gateway},
	} {
		if v[1] != "" {
			env = append(env, v[0]+"="+v[1])
		}
	}
	return env
}

// cleanNet has the network of a run that is over taken away; it does nothing where
// that was done. The caller holds the instance exclusively.
func (m *Manager) cleanNet(ctx context.Context, inst *registry.Instance) error {
	if !exists(m.netFile(inst.ID)) {
		return nil
	}
	// One of an earlier boot ended with that.
	if n, found := m.readNet(inst.ID); found {
		if err := m.callClean(context.WithoutCancel(ctx), inst, &n); err != nil {
			return fmt.Errorf("cannot take away the network of instance %s: %w", inst.Name, err)
		}
	}
	fault.Point("net.cleaned")
	if pin := m.netPin(inst.ID); exists(pin) {
		if !mount.Free(pin) {
			if err := mount.Detach(pin); err != nil {
				return err
			}
		}
		if err := os.Remove(pin); err != nil {
			return err
		}
	}
	fault.Point("net.unpinned")
	return errors.Join(mount.RemoveAll(m.netState(inst.ID)), os.Remove(m.netFile(inst.ID)))
}

func (m *Manager) callClean(ctx context.Context, inst *registry.Instance, n *network) error {
	here, err := hostNetNS()
	if err != nil {
		return err
	}
	if here != n.HostNS {
		return errors.New("it was made in another network namespace: run firmwared gc there")
	}
	if err := os.MkdirAll(m.netState(inst.ID), 0o700); err != nil {
		return err
	}
	call, err := m.netCall(inst, n)
	if err != nil {
		return err
	}
	call.Action = hook.ActionClean
	fault.Point("net.cleaning")
	if _, err := m.callLayer(ctx, call); err != nil {
		return err
	}
	if hasInterface(n.Vars[hook.VarNetHostIf]) {
		err = fmt.Errorf("hook %s reported success, but interface %s is still there", n.Hook, n.Vars[hook.VarNetHostIf])
		m.keepHookError(call, err)
		return err
	}
	return nil
}

// tryCleanNet is cleanNet where nobody can wait for it to succeed: it is tried again
// by the next command on the instance, and by gc.
func (m *Manager) tryCleanNet(ctx context.Context, inst *registry.Instance) {
	if err := m.cleanNet(ctx, inst); err != nil {
		m.warn(err)
	}
}

// networks finds what runs that are over have left of their network, because the hook
// could not take it away.
func (g *gc) networks() (found []Garbage) {
	all, _ := g.store.Instances.All()
	for _, inst := range all {
		left := func() bool { return exists(g.netFile(inst.ID)) && !g.runs(inst.ID) }
		if left() {
			found = append(found, Garbage{
				Kind: "network", Name: inst.Name, Path: g.netFile(inst.ID), Reason: "the run that it was made for is over", lock: "i-" + inst.ID, still: left,
				clear: func(ctx context.Context) error { return g.cleanNet(ctx, inst) },
			})
		}
	}
	return found
}
