// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"sort"
	"strings"
	"time"

	petname "github.com/dustinkirkland/golang-petname"

	"firmwared/core/event"
	"firmwared/core/fault"
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

	// Of a URL alone.
	Signature string // a file or URL: what is fetched must be signed so
	Key       string // a file: by this key
	CopyTo    string // a path: keep the image there, and leave it to the user
	Fetched   func(done, total int64)
}

// Add registers the firmware at path, a URL maybe, or finds it registered already:
// the same image content, or the same real directory, with the same base, hook and
// options is the same firmware. Needs Enter.
func (m *Manager) Add(ctx context.Context, path string, o AddOptions) (*registry.Firmware, error) {
	fw, err := m.add(ctx, path, o)
	if err == nil && !o.Ephemeral { // who runs it at once is told by the start
		m.checkOwners(ctx, fw)
	}
	return fw, err
}

func (m *Manager) add(ctx context.Context, path string, o AddOptions) (*registry.Firmware, error) {
	if o.Name != "" {
		if err := registry.CheckName(o.Name); err != nil {
			return nil, fmt.Errorf("cannot add firmware: %w", err)
		}
	}
	if IsURL(path) {
		return m.addURL(ctx, path, o)
	}
	if o.Signature != "" || o.CopyTo != "" {
		return nil, fmt.Errorf("cannot add firmware %s: --signature and --copy-to are for URLs; that of a file is file:// and its absolute path", quote(path))
	}
	real, image, err := findSource(path)
	if err == nil {
		err = m.refuseOwn(real)
	}
	if err != nil {
		return nil, err
	}
	fw := &registry.Firmware{Path: real, Image: image, Options: o.Options, Name: o.Name, Ephemeral: o.Ephemeral, Created: time.Now()}
	if err := m.setBase(fw, quote(path), o.Base); err != nil {
		return nil, err
	}
	if err := m.chooseHook(ctx, fw, o.Hook); err != nil {
		return nil, err
	}
	if !image {
		if o.SHA256 != "" || o.Copy {
			return nil, fmt.Errorf("cannot add firmware %s: --sha256 and --copy are for images, this is a directory", quote(path))
		}
		m.warnOfMounts(real)
		return m.register(ctx, fw, nil, "directory", real)
	}
	progress := m.tellProgress(fw, o.Progress)
	var copied *imageCopy
	if o.Copy {
		copied, err = m.copyImage(ctx, fw, progress)
		defer copied.discard()
	} else {
		err = m.hashOnce(ctx, fw, progress)
	}
	if err != nil {
		return nil, err
	}
	if o.SHA256 != "" && !strings.EqualFold(o.SHA256, fw.SHA256) {
		return nil, fmt.Errorf("cannot add firmware %s: its sha256 is %s, not %s", quote(path), fw.SHA256, o.SHA256)
	}
	fault.Point("add.read")
	return m.register(ctx, fw, copied, "image", fw.SHA256)
}

// setBase puts a firmware on top of another one, if one is named.
func (m *Manager) setBase(fw *registry.Firmware, what, key string) error {
	if key == "" {
		return nil
	}
	base, err := m.store.Firmwares.Find(key)
	if err != nil {
		return fmt.Errorf("cannot add firmware %s on a base: %w", what, err)
	}
	fw.Base = base.ID
	return nil
}

// firmwareID is the id of a firmware with this identity.
func firmwareID(fw *registry.Firmware, kind, identity string) string {
	words := []string{kind, identity, fw.Base, fw.Hook}
	for _, key := range sortedKeys(fw.Options) {
		words = append(words, key, fw.Options[key])
	}
	return shortHash(words...)
}

// register writes the record of a firmware with this identity, or returns the
// one that is there. copied, if any, becomes the image that it uses.
func (m *Manager) register(ctx context.Context, fw *registry.Firmware, copied *imageCopy, kind, identity string) (*registry.Firmware, error) {
	fw.ID = firmwareID(fw, kind, identity)
	lock, err := m.store.Lock(ctx, "f-"+fw.ID, registry.Exclusive)
	if err != nil {
		return nil, err
	}
	defer lock.Unlock()
	old, err := m.store.Firmwares.Load(fw.ID)
	if isBroken(err) {
		return nil, fmt.Errorf("cannot add firmware %s: %w", sourceOf(fw), err)
	}
	if old != nil && old.Removing { // by a command that died: the lock is ours
		if err := m.removeFirmware(ctx, old, reasonRecover); err != nil {
			return nil, err
		}
		old = nil
	}
	names, err := m.store.Lock(ctx, "names", registry.Exclusive)
	if err != nil {
		return nil, err
	}
	defer names.Unlock()
	if old == nil {
		return fw, m.create(fw, copied)
	}
	if fw.Name != "" && fw.Name != old.Name {
		return nil, fmt.Errorf("cannot add firmware %s as %s: it is registered already as %s (%s)", sourceOf(fw), fw.Name, old.Name, old.ID)
	}
	return old, m.adopt(old, fw, copied)
}

// create writes the record of a new firmware, under a name of its own. The
// caller holds it exclusively, and the names.
func (m *Manager) create(fw *registry.Firmware, copied *imageCopy) error {
	all, _ := m.store.Firmwares.All()
	taken := map[string]bool{}
	for _, other := range all {
		taken[other.Name] = true
	}
	if fw.Name == "" {
		fw.Name = newName(taken)
	} else if taken[fw.Name] {
		return fmt.Errorf("cannot add firmware %s: another one is named %s", sourceOf(fw), fw.Name)
	}
	if fw.Ephemeral { // until PrepareToRun has made the instance that it goes with
		mark, err := m.store.Begin("firmware." + fw.ID)
		if err != nil {
			return err
		}
		m.runs.Store(mark.Object, mark)
	}
	if err := copied.place(fw); err != nil {
		return err
	}
	fault.Point("add.placed")
	err := m.store.Firmwares.Save(fw)
	fault.Point("add.registered")
	if err != nil && fw.Copied {
		err = errors.Join(err, mount.RemoveAll(fw.Path))
	}
	if err == nil {
		m.tellFirmware(event.FirmwareAdded, fw)
	}
	return err
}

// adopt merges what a second add of a firmware says into its record. The caller
// holds it exclusively.
func (m *Manager) adopt(old, fw *registry.Firmware, copied *imageCopy) error {
	before := *old
	old.Ephemeral = old.Ephemeral && fw.Ephemeral
	switch {
	case !fw.Image || old.Copied: // it stands on what it stood on
	case copied != nil:
		if err := copied.place(old); err != nil {
			return err
		}
	case old.Path != fw.Path || *old.Stat != *fw.Stat:
		// Equal content elsewhere: stand on the file named last, it is there.
		old.Path, old.Stat = fw.Path, fw.Stat
	}
	if fw.URL != "" {
		old.URL, old.Download = fw.URL, fw.Download
	}
	same := old.URL == before.URL && old.Download == before.Download
	if same && old.Ephemeral == before.Ephemeral && old.Path == before.Path && old.Stat == before.Stat {
		return nil
	}
	return m.store.Firmwares.Save(old)
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
