// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sort"
	"strings"

	"firmwared/core/hook"
	"firmwared/core/registry"
)

// chooseHook finds the lower hook for a firmware's source: the one named, or the
// first that says the source is its own.
func (m *Manager) chooseHook(ctx context.Context, fw *registry.Firmware, name string) error {
	find := m.askHooks
	if name != "" {
		find = func(ctx context.Context, fw *registry.Firmware) (hook.Hook, hook.Description, error) {
			return m.namedHook(ctx, fw, name)
		}
	}
	h, d, err := find(ctx, fw)
	if err != nil {
		return err
	}
	fw.Hook = h.Name
	if err := checkOptions(fw, h, d); err != nil {
		return err
	}
	m.warnOfLacking(ctx, h, d)
	return nil
}

// namedHook is the hook that the user wants. Its probe may say that the source is
// another's, as one does that no probe can recognise, but must not fail.
func (m *Manager) namedHook(ctx context.Context, fw *registry.Firmware, name string) (h hook.Hook, d hook.Description, err error) {
	if h, err = m.hooks.Find(name); err != nil {
		return h, d, fmt.Errorf("cannot add firmware %s: %w", sourceOf(fw), err)
	}
	if d, err = m.runner.Describe(ctx, h); err != nil {
		return h, d, err
	}
	if !d.HasLayer(hook.LayerLower) {
		return h, d, fmt.Errorf("cannot add firmware %s: hook %s mounts no lower", sourceOf(fw), name)
	}
	_, _, err = m.probe(ctx, h, fw)
	return h, d, err
}

// askHooks asks the hooks in probe order. One that fails does not keep the others
// from being asked; its words come with the answer.
func (m *Manager) askHooks(ctx context.Context, fw *registry.Firmware) (hook.Hook, hook.Description, error) {
	found, problems := m.hooks.List()
	m.warn(problems...)
	var source io.ReaderAt
	if fw.Image {
		image, err := os.Open(fw.Path)
		if err != nil {
			return hook.Hook{}, hook.Description{}, fmt.Errorf("cannot read image %q: %w", fw.Path, cause(err))
		}
		defer image.Close()
		source = image
	}
	var tried, why []string
	var failed []error
	for _, h := range hook.ProbeOrder(found) {
		d, err := m.runner.Describe(ctx, h)
		if err != nil {
			if ctx.Err() != nil {
				return h, d, err
			}
			m.warn(err)
			continue
		}
		if !d.HasLayer(hook.LayerLower) {
			continue
		}
		tried = append(tried, h.Name)
		if !d.MayTake(source) {
			continue
		}
		if d.Takes(source) {
			m.warn(failed...)
			return h, d, nil
		}
		mine, said, err := m.probe(ctx, h, fw)
		switch {
		case ctx.Err() != nil:
			return h, d, err
		case err != nil:
			failed = append(failed, err)
			why = append(why, err.Error())
		case mine:
			m.warn(failed...)
			return h, d, nil
		case said != "":
			why = append(why, said)
		}
	}
	return hook.Hook{}, hook.Description{}, m.noHook(fw, tried, why)
}

func (m *Manager) warn(problems ...error) {
	for _, err := range problems {
		m.notice(fmt.Sprintf("warning: %v", err))
	}
}

// noHook says that nobody takes a firmware's source, and why as far as it is known.
func (m *Manager) noHook(fw *registry.Firmware, tried, why []string) error {
	if len(tried) == 0 {
		return fmt.Errorf("cannot add firmware %s: no lower hook in %s", sourceOf(fw), strings.Join(m.hooks, ", "))
	}
	reasons := strings.Join(append([]string{""}, why...), "; ")
	return fmt.Errorf("cannot add firmware %s: no hook can mount it (tried: %s)%s; for a new format, add a hook to %s",
		sourceOf(fw), strings.Join(tried, ", "), reasons, m.hooks[0])
}

func checkOptions(fw *registry.Firmware, h hook.Hook, d hook.Description) error {
	var unknown []string
	for key := range fw.Options {
		if !slices.Contains(d.Options, key) {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	sort.Strings(unknown)
	known := "none"
	if len(d.Options) > 0 {
		known = strings.Join(d.Options, ", ")
	}
	return fmt.Errorf("cannot add firmware %s: hook %s has no option %s (it has: %s)", sourceOf(fw), h.Name, strings.Join(unknown, ", "), known)
}
