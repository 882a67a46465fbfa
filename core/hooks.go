// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"

	"firmwared/core/hook"
	"firmwared/core/registry"
)

// HookInfo is what is shown of a hook; the names in JSON are promised. What a hook says of itself is empty unless
// State is ok.
type HookInfo struct {
	Name      string             `json:"name"`
	Path      string             `json:"path"`
	State     string             `json:"state"`   // ok, refused (not trusted), broken (describe does not work), masked
	Problem   string             `json:"problem"` // why it is not ok
	Layers    []string           `json:"layers"`
	Summary   string             `json:"summary"`
	Formats   []string           `json:"formats"`
	Requires  []string           `json:"requires"`
	Options   []string           `json:"options"`
	Magic     []string           `json:"magic"`
	Remount   string             `json:"remount"` // live, none, or empty without a union layer
	Pack      bool               `json:"pack"`
	Daemon    bool               `json:"daemon"`
	Schemes   []string           `json:"schemes"`    // of a fetch hook
	Directory string             `json:"directory"`  // all, none, or ask: whose directories are
	Unmount   string             `json:"unmount"`    // plain: the program may do it without the hook; hook
	Hides     []string           `json:"hides"`      // files of the same name in later directories
	Limits    map[string]float64 `json:"timeouts_s"` // per action
}

// Hooks looks at every name in the hook directories. The error names directories that cannot be read.
func (m *Manager) Hooks(ctx context.Context) ([]HookInfo, error) {
	defer m.removeGroups()
	entries, problems := m.hooks.All()
	infos := make([]HookInfo, 0, len(entries))
	for _, e := range entries {
		infos = append(infos, m.hookInfo(ctx, e))
	}
	return infos, errors.Join(problems...)
}

// HookNames lists the names without asking the hooks anything.
func (m *Manager) HookNames() []string {
	entries, _ := m.hooks.All()
	var names []string
	for _, e := range entries {
		names = append(names, e.Name)
	}
	return names
}

// ShowHook looks at one name, usable or not.
func (m *Manager) ShowHook(ctx context.Context, name string) (HookInfo, error) {
	defer m.removeGroups()
	entries, _ := m.hooks.All()
	i := slices.IndexFunc(entries, func(e hook.Entry) bool { return e.Name == name })
	if i < 0 {
		_, err := m.hooks.Find(name)
		return HookInfo{}, err
	}
	return m.hookInfo(ctx, entries[i]), nil
}

func (m *Manager) hookInfo(ctx context.Context, e hook.Entry) HookInfo {
	info := HookInfo{
		Name: e.Name, Path: e.Path, State: "ok", Hides: append([]string{}, e.Hides...), Limits: map[string]float64{},
		Layers: []string{}, Formats: []string{}, Requires: []string{}, Options: []string{}, Magic: []string{},
		Schemes: []string{},
	}
	for _, a := range hook.Actions() {
		info.Limits[a.Name] = m.runner.Timeout(e.Name, a.Name).Seconds()
	}
	switch {
	case e.Masked:
		info.State, info.Problem = "masked", e.Path+" leads to /dev/null"
		return info
	case e.Err != nil:
		info.State, info.Problem = "refused", e.Err.Error()
		return info
	}
	d, err := m.runner.Describe(ctx, e.Hook)
	if err != nil {
		info.State, info.Problem = "broken", err.Error()
		return info
	}
	info.Summary, info.Pack, info.Daemon = d.Summary, d.Pack, d.Daemon
	if info.Directory = d.Directory; d.Directory == "" {
		info.Directory = "ask"
	}
	info.Unmount = "hook"
	if d.Plain {
		info.Unmount = "plain"
	}
	info.Layers = append(info.Layers, d.Layers...)
	info.Formats = append(info.Formats, d.Formats...)
	info.Requires = append(info.Requires, d.Requires...)
	info.Options = append(info.Options, d.Options...)
	info.Schemes = append(info.Schemes, d.Schemes...)
	for _, magic := range d.Magic {
		info.Magic = append(info.Magic, fmt.Sprintf("%d:%s", magic.Offset, hex.EncodeToString(magic.Bytes)))
	}
	if d.HasLayer(hook.LayerUnion) {
		info.Remount = "none"
		if d.Live {
			info.Remount = "live"
		}
	}
	return info
}

// HookEnv is the complete environment that a hook would get for an action, NAME=VALUE each. object names a firmware
// (probe, layer lower) or an instance (layer union); without one the values are made up, but valid. Without a layer
// the one is taken that the action and the hook have in common, if there is only one, or that the object is of.
func (m *Manager) HookEnv(ctx context.Context, name, action, layer, object string) ([]string, error) {
	defer m.removeGroups()
	h, err := m.hooks.Find(name)
	if err != nil {
		return nil, err
	}
	d, err := m.runner.Describe(ctx, h)
	if err != nil {
		return nil, err
	}
	if layer, err = m.envLayer(h, d, action, layer, object); err != nil {
		return nil, err
	}
	call, err := m.envCall(ctx, action, layer, object, d)
	if err != nil {
		return nil, err
	}
	call.Hook, call.Action, call.Layer = h, action, layer
	return m.runner.Environ(call)
}

// envLayer chooses the layer of a call and sees that the hook has it.
func (m *Manager) envLayer(h hook.Hook, d hook.Description, action, layer, object string) (string, error) {
	all := hook.Actions()
	i := slices.IndexFunc(all, func(a hook.Action) bool { return a.Name == action })
	if i < 0 {
		var names []string
		for _, a := range all {
			names = append(names, a.Name)
		}
		return "", fmt.Errorf("there is no action %q: it is one of %s", action, strings.Join(names, ", "))
	}
	jobs := map[string]string{
		hook.ActionProbe: hook.LayerLower, hook.ActionFetch: hook.LayerFetch, hook.ActionUnpack: hook.LayerFetch,
		hook.ActionVerify: hook.LayerVerify,
	}
	if job := jobs[action]; job != "" && !d.HasLayer(job) {
		return "", fmt.Errorf("hook %s has no layer %s, so it is not asked to %s", h.Name, job, action)
	}
	var can []string
	for _, l := range all[i].Layers {
		if d.HasLayer(l) {
			can = append(can, l)
		}
	}
	switch {
	case layer == "" && len(all[i].Layers) == 0:
		return "", nil
	case layer != "" && !slices.Contains(all[i].Layers, layer):
		return "", fmt.Errorf("there is no %s of layer %q", action, layer)
	case layer != "" && !slices.Contains(can, layer):
		return "", fmt.Errorf("hook %s has no layer %s (it has: %s)", h.Name, layer, strings.Join(d.Layers, ", "))
	case layer != "":
		return layer, nil
	case len(can) == 0:
		return "", fmt.Errorf("hook %s has no layer that %s works on (it has: %s)", h.Name, action, strings.Join(d.Layers, ", "))
	}
	if len(can) > 1 && object != "" {
		if _, err := m.store.Instances.Find(object); err == nil {
			return hook.LayerUnion, nil
		}
		return hook.LayerLower, nil
	}
	if len(can) > 1 {
		return "", fmt.Errorf("hook %s has layers %s: say which", h.Name, strings.Join(can, " and "))
	}
	return can[0], nil
}

// envCall is a call for a real object or for a made-up one.
func (m *Manager) envCall(ctx context.Context, action, layer, object string, d hook.Description) (call hook.Call, err error) {
	switch {
	case object == "":
		call.Vars = m.sampleVars(action, layer, d)
	case slices.Contains([]string{hook.ActionDescribe, hook.ActionFetch, hook.ActionUnpack, hook.ActionVerify}, action):
		return call, fmt.Errorf("%s is not about a firmware or an instance", action)
	case layer == hook.LayerUnion:
		call, err = m.instanceEnv(ctx, object)
	case layer == hook.LayerNet:
		call, err = m.networkEnv(object)
	default:
		call, err = m.firmwareEnv(ctx, object)
	}
	if err != nil {
		return call, err
	}
	if action == hook.ActionUnmount {
		call.Vars[hook.VarReason] = reasonDrop
	}
	return call, nil
}

func (m *Manager) firmwareEnv(ctx context.Context, key string) (hook.Call, error) {
	fw, err := m.store.Firmwares.Find(key)
	if err != nil {
		return hook.Call{}, err
	}
	generation, err := m.lockedGeneration(ctx, fw)
	if err != nil {
		return hook.Call{}, err
	}
	return m.lowerCall(ctx, fw, lower{Firmware: fw.ID, Generation: generation, Hook: fw.Hook})
}

// instanceEnv is about the union that is mounted: what it stands on is decided when that is done.
func (m *Manager) instanceEnv(ctx context.Context, key string) (hook.Call, error) {
	inst, err := m.store.Instances.Find(key)
	if err != nil {
		return hook.Call{}, err
	}
	u, mounted := m.readUnion(inst.ID)
	if !mounted {
		return hook.Call{}, fmt.Errorf("instance %s is not mounted: what its hook gets is known when it has been started", inst.Name)
	}
	return m.unionCall(ctx, inst, u)
}

// networkEnv is about the network of the run under way.
func (m *Manager) networkEnv(key string) (hook.Call, error) {
	inst, err := m.store.Instances.Find(key)
	if err != nil {
		return hook.Call{}, err
	}
	n, found := m.readNet(inst.ID)
	if !found {
		return hook.Call{}, fmt.Errorf("instance %s has no network of a hook now: what its hook gets is known when it has been started", inst.Name)
	}
	return m.netCall(inst, &n)
}

// sampleVars are the values for an object that does not exist; paths are where the program would have them.
func (m *Manager) sampleVars(action, layer string, d hook.Description) map[string]string {
	const id, generation = "0123456789ab", "ba9876543210"
	vars := map[string]string{
		hook.VarFirmware: "/path/to/firmware", hook.VarRO: m.at.lowerMount(id, generation),
		hook.VarLowerDir: m.at.lowerMount(id, generation), hook.VarRW: m.at.rw(id), hook.VarWorkDir: m.at.workdir(id),
		hook.VarUnion: m.at.union(id), hook.VarID: id, hook.VarName: "sample", hook.VarState: m.at.unionState(id),
		hook.VarLabel: "firmwared_" + id, hook.VarConfinement: "none",
		hook.VarOutput: filepath.Join(m.at.base, "images", ".copy-"+id), hook.VarMax: fmt.Sprint(m.cfg.FetchMax),
		hook.VarStall: fmt.Sprint(m.cfg.FetchStall), hook.VarCA: m.cfg.FetchCA,
		hook.VarFile: filepath.Join(m.at.base, "images", ".copy-"+generation), hook.VarSignature: "/path/to/signature", hook.VarKey: "/path/to/key",
	}
	if len(d.Schemes) > 0 {
		vars[hook.VarURL] = d.Schemes[0] + "://host/path/to/firmware"
	}
	if action == hook.ActionFetch || action == hook.ActionVerify {
		vars[hook.VarState] = filepath.Join(m.downloads(), id)
	}
	if layer == hook.LayerLower {
		vars[hook.VarState] = filepath.Join(m.at.lowerDir(id, generation), "state")
	}
	if layer == hook.LayerNet {
		vars = m.netVars(&registry.Instance{ID: id, Name: "sample"}, nil, netip.MustParsePrefix("10.202.0.0/30"))
		vars[hook.VarNetns] = m.netPin(id)
	}
	for _, key := range d.Options {
		vars[hook.OptionVar(key)] = "VALUE"
	}
	return vars
}
