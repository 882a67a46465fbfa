// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	petname "github.com/dustinkirkland/golang-petname"

	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
)

// AddOptions are what `firmware add` takes besides the path.
type AddOptions struct {
	Name      string // "": one is made up
	Base      string // name or id of the firmware below
	Hook      string // "": the first that says the source is its own
	SHA256    string // an image must have it, if given
	Options   map[string]string
	Copy      bool // keep a copy of the image in the state directory
	Ephemeral bool // remove with the last instance, unless it is registered already
	Progress  func(done, total int64)
}

// Add registers the firmware at path, or finds it registered already: the same
// image content, or the same real directory, with the same base, hook and
// options is the same firmware. Needs Enter.
func (m *Manager) Add(ctx context.Context, path string, o AddOptions) (*registry.Firmware, error) {
	if o.Name != "" {
		if err := registry.CheckName(o.Name); err != nil {
			return nil, fmt.Errorf("cannot add firmware: %w", err)
		}
	}
	real, image, err := findSource(path)
	if err != nil {
		return nil, err
	}
	fw := &registry.Firmware{Path: real, Image: image, Options: o.Options, Name: o.Name, Ephemeral: o.Ephemeral, Created: time.Now()}
	if o.Base != "" {
		base, err := m.store.Firmwares.Find(o.Base)
		if err != nil {
			return nil, fmt.Errorf("cannot add firmware %s on a base: %w", quote(path), err)
		}
		fw.Base = base.ID
	}
	if err := m.chooseHook(ctx, fw, o.Hook); err != nil {
		return nil, err
	}
	if !image {
		if o.SHA256 != "" || o.Copy {
			return nil, fmt.Errorf("cannot add firmware %s: --sha256 and --copy are for images, this is a directory", quote(path))
		}
		m.warnOfMounts(real)
		return m.register(ctx, fw, "directory", real)
	}
	fw.SHA256, fw.Stat, err = m.readImage(ctx, fw, o)
	if err != nil {
		return nil, err
	}
	if o.SHA256 != "" && !strings.EqualFold(o.SHA256, fw.SHA256) {
		if fw.Copied {
			_ = os.Remove(fw.Path)
		}
		return nil, fmt.Errorf("cannot add firmware %s: its sha256 is %s, not %s", quote(path), fw.SHA256, o.SHA256)
	}
	if o.Copy {
		if err := m.adoptCopy(fw); err != nil {
			return nil, err
		}
	}
	return m.register(ctx, fw, "image", fw.SHA256)
}

// chooseHook finds the lower hook for a firmware's source.
func (m *Manager) chooseHook(ctx context.Context, fw *registry.Firmware, name string) error {
	var hooks []hook.Hook
	if name != "" {
		h, err := m.hooks.Find(name)
		if err != nil {
			return fmt.Errorf("cannot add firmware %s: %w", quote(fw.Path), err)
		}
		hooks = []hook.Hook{h}
	} else {
		found, broken := m.hooks.List()
		for _, err := range broken {
			m.notice(fmt.Sprintf("warning: %v", err))
		}
		hooks = hook.ProbeOrder(found)
	}
	var asked []string
	for _, h := range hooks {
		d, err := m.runner.Describe(ctx, h)
		if err != nil {
			if name != "" || ctx.Err() != nil {
				return err
			}
			m.notice(fmt.Sprintf("warning: %v", err))
			continue
		}
		if !d.HasLayer(hook.LayerLower) {
			if name != "" {
				return fmt.Errorf("cannot add firmware %s: hook %s mounts no lower", quote(fw.Path), name)
			}
			continue
		}
		asked = append(asked, h.Name)
		mine, err := m.probe(ctx, h, fw)
		if err != nil {
			return err
		}
		if mine || name != "" {
			fw.Hook = h.Name
			return checkOptions(fw, h, d)
		}
	}
	if len(asked) == 0 {
		return fmt.Errorf("cannot add firmware %s: no lower hook in %s", quote(fw.Path), strings.Join(m.hooks, ", "))
	}
	return fmt.Errorf("cannot add firmware %s: no hook can mount it (asked: %s); for a new format, add a hook to %s", quote(fw.Path), strings.Join(asked, ", "), m.hooks[0])
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
	return fmt.Errorf("cannot add firmware %s: hook %s has no option %s (it has: %s)", quote(fw.Path), h.Name, strings.Join(unknown, ", "), known)
}

// readImage hashes an image, unless the same file in the same state was hashed
// for a firmware before, and copies it if it was asked to.
func (m *Manager) readImage(ctx context.Context, fw *registry.Firmware, o AddOptions) (sum string, stat *registry.FileStat, err error) {
	if !o.Copy {
		info, err := os.Stat(fw.Path)
		if err != nil {
			return "", nil, fmt.Errorf("cannot read image %q: %w", fw.Path, cause(err))
		}
		known, _ := m.store.Firmwares.All()
		for _, other := range known {
			if other.Image && *other.Stat == statOf(info) {
				return other.SHA256, other.Stat, nil
			}
		}
		return hashImage(ctx, fw.Path, nil, o.Progress)
	}
	dir := filepath.Join(m.at.state, "images")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", nil, fmt.Errorf("cannot copy image %q: %w", fw.Path, err)
	}
	tmp, err := os.CreateTemp(dir, ".copy*")
	if err != nil {
		return "", nil, fmt.Errorf("cannot copy image %q: %w", fw.Path, err)
	}
	defer func() {
		if err = errors.Join(err, tmp.Close()); err != nil {
			_ = os.Remove(tmp.Name())
		}
	}()
	if sum, _, err = hashImage(ctx, fw.Path, tmp, o.Progress); err != nil {
		return "", nil, err
	}
	if err = tmp.Sync(); err != nil {
		return "", nil, fmt.Errorf("cannot copy image %q: %w", fw.Path, err)
	}
	fw.Path, fw.Copied = tmp.Name(), true
	return sum, nil, nil
}

// adoptCopy gives the copy of an image its name in the state directory, or
// drops it for the same content that is there already.
func (m *Manager) adoptCopy(fw *registry.Firmware) error {
	tmp := fw.Path
	fw.Path = m.at.image(fw.SHA256)
	err := os.Link(tmp, fw.Path)
	if os.IsExist(err) {
		err = nil
	}
	if err = errors.Join(err, os.Remove(tmp)); err != nil {
		return fmt.Errorf("cannot keep a copy of the image: %w", err)
	}
	info, err := os.Stat(fw.Path)
	if err != nil {
		return fmt.Errorf("cannot keep a copy of the image: %w", err)
	}
	stat := statOf(info)
	fw.Stat = &stat
	return nil
}

// register writes the record of a firmware with this identity, or returns the
// one that is there.
func (m *Manager) register(ctx context.Context, fw *registry.Firmware, kind, identity string) (*registry.Firmware, error) {
	words := []string{kind, identity, fw.Base, fw.Hook}
	for _, key := range sortedKeys(fw.Options) {
		words = append(words, key, fw.Options[key])
	}
	fw.ID = shortHash(words...)
	lock, err := m.store.Lock(ctx, "f-"+fw.ID, registry.Exclusive)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	names, err := m.store.Lock(ctx, "names", registry.Exclusive)
	if err != nil {
		return nil, err
	}
	defer names.Unlock()
	all, broken := m.store.Firmwares.All()
	taken := map[string]bool{}
	for _, other := range all {
		if other.ID == fw.ID {
			return m.adopt(other, fw)
		}
		taken[other.Name] = true
	}
	if fw.Name == "" {
		fw.Name = newName(taken)
	} else if taken[fw.Name] {
		return nil, fmt.Errorf("cannot add firmware %s: another one is named %s", quote(fw.Path), fw.Name)
	}
	if _, err := m.store.Firmwares.Load(fw.ID); isBroken(err) {
		return nil, errors.Join(fmt.Errorf("cannot add firmware %s", quote(fw.Path)), broken)
	}
	return fw, m.store.Firmwares.Save(fw)
}

// adopt merges what a second add of a firmware says into its record.
func (m *Manager) adopt(old, fw *registry.Firmware) (*registry.Firmware, error) {
	if fw.Name != "" && fw.Name != old.Name {
		return nil, fmt.Errorf("cannot add firmware %s as %s: it is registered already as %s (%s)", quote(fw.Path), fw.Name, old.Name, old.ID)
	}
	before := *old
	old.Ephemeral = old.Ephemeral && fw.Ephemeral
	if fw.Image && (fw.Copied || !old.Copied) {
		// Equal content elsewhere: stand on the file named last, it is there.
		old.Path, old.Stat, old.Copied = fw.Path, fw.Stat, fw.Copied
	}
	if old.Ephemeral == before.Ephemeral && old.Path == before.Path && *orZero(old.Stat) == *orZero(before.Stat) {
		return old, nil
	}
	return old, m.store.Firmwares.Save(old)
}

func orZero(s *registry.FileStat) *registry.FileStat {
	if s == nil {
		return &registry.FileStat{}
	}
	return s
}

func isBroken(err error) bool {
	var broken *registry.BrokenError
	return errors.As(err, &broken)
}

// newName makes up a name that is not taken.
func newName(taken map[string]bool) string {
	for i := 0; ; i++ {
		name := petname.Generate(2, "_")
		if i > 20 { // the lists have some hundred thousand pairs
			name = fmt.Sprintf("%s_%s", name, registry.NewID()[:4])
		}
		if !taken[name] {
			return name
		}
	}
}

// warnOfMounts names the mounts inside a directory: a plain bind does not show
// them.
func (m *Manager) warnOfMounts(dir string) {
	points, err := mount.Below(dir)
	if err != nil {
		return
	}
	for _, point := range points {
		if point != dir {
			m.notice(fmt.Sprintf("warning: %s is a mount of its own: instances see the directory below it", quote(point)))
		}
	}
}

func sortedKeys[V any](set map[string]V) []string {
	keys := make([]string, 0, len(set))
	for key := range set {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
