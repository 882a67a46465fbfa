// SPDX-License-Identifier: Apache-2.0

package core

import (
	"time"

	"firmwared/core/hook"
	"firmwared/core/registry"
)

// FirmwareInfo is what is shown of a firmware; the names in JSON are promised.
type FirmwareInfo struct {
	ID        string            `json:"id"`
	Name      string            `json:"name"`
	Path      string            `json:"path"`
	Kind      string            `json:"kind"` // directory or image
	Hook      string            `json:"hook"`
	Options   map[string]string `json:"options"`
	Base      string            `json:"base"` // name
	SHA256    string            `json:"sha256"`
	URL       string            `json:"url"`      // where it was fetched, without a password
	Download  string            `json:"download"` // sha256 of what was fetched, which may have been compressed
	State     string            `json:"state"`    // mounted or unmounted
	Instances []string          `json:"instances"`
	Mounts    []string          `json:"mounts"` // of its generations
	Ephemeral bool              `json:"ephemeral"`
	Copied    bool              `json:"copied"`
	Created   time.Time         `json:"created"`
	HookError *HookError        `json:"hook_error"` // the last since boot
}

// Firmwares looks at every firmware, in the order of names. Broken records are
// named in the error beside the others.
func (m *Manager) Firmwares() ([]FirmwareInfo, error) {
	all, broken := m.store.Firmwares.All()
	instances, _ := m.store.Instances.All()
	names := map[string]string{}
	for _, fw := range all {
		names[fw.ID] = fw.Name
	}
	infos := make([]FirmwareInfo, 0, len(all))
	for _, fw := range all {
		infos = append(infos, m.firmwareInfo(fw, names, instances))
	}
	return infos, broken
}

// ShowFirmware looks at one firmware.
func (m *Manager) ShowFirmware(fw *registry.Firmware) FirmwareInfo {
	names := map[string]string{}
	if base, err := m.store.Firmwares.Load(fw.Base); err == nil {
		names[base.ID] = base.Name
	}
	instances, _ := m.store.Instances.All()
	return m.firmwareInfo(fw, names, instances)
}

func (m *Manager) firmwareInfo(fw *registry.Firmware, names map[string]string, instances []*registry.Instance) FirmwareInfo {
	info := FirmwareInfo{
		ID: fw.ID, Name: fw.Name, Path: fw.Path, Kind: kindOf(fw), Hook: fw.Hook, Options: fw.Options,
		Base: names[fw.Base], SHA256: fw.SHA256, URL: fw.URL, Download: fw.Download, State: "unmounted", Instances: []string{}, Mounts: []string{},
		Ephemeral: fw.Ephemeral, Copied: fw.Copied, Created: fw.Created,
	}
	if info.Options == nil {
		info.Options = map[string]string{}
	}
	for _, inst := range instances {
		if inst.Firmware == fw.ID {
			info.Instances = append(info.Instances, inst.Name)
		}
	}
	var failed HookError
	if registry.ReadRuntime(m.hookErrorFile(hook.LayerLower, fw.ID), &failed) {
		info.HookError = &failed
	}
	for _, l := range m.lowersOf(fw.ID) {
		if m.isMounted(l) {
			info.State = "mounted"
			info.Mounts = append(info.Mounts, m.lowerPoint(l))
		}
	}
	return info
}
