// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"firmwared/core/event"
	"firmwared/core/fault"
	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// PrepareOptions are what `prepare` takes besides the firmware.
type PrepareOptions struct {
	Name      string // of the one instance; "": made up
	Count     int    // 0 means 1
	Set       []string
	Union     string // union hook; "": the configured one
	Ephemeral bool   // drop when what runs in it has ended (`run --rm`)
	// Unconfined: it will be started so. Its union is then mounted for that; one that
	// is not is made anew by the start.
	Unconfined bool
	Progress   func(done, total int64) // if set; not called by several at once
}

// Prepare makes instances of a firmware, mounted and ready, and returns those
// that it made even if others failed. Needs Enter.
func (m *Manager) Prepare(ctx context.Context, fw *registry.Firmware, o PrepareOptions) ([]*registry.Instance, error) {
	count := max(o.Count, 1)
	if o.Name != "" {
		if err := registry.CheckName(o.Name); err != nil {
			return nil, fmt.Errorf("cannot prepare an instance of firmware %s: %w", fw.Name, err)
		}
		if count > 1 {
			return nil, fmt.Errorf("cannot give %d instances of firmware %s one name", count, fw.Name)
		}
	}
	set, err := parseProperties(o.Set)
	if err != nil {
		return nil, fmt.Errorf("cannot prepare an instance of firmware %s: %w", fw.Name, err)
	}
	if err := m.judgeNet(ctx, "firmware "+fw.Name, set, set); err != nil {
		return nil, fmt.Errorf("cannot prepare an instance of firmware %s: %w", fw.Name, err)
	}
	if o.Union == "" {
		o.Union = m.cfg.Union
	}
	made := make([]*registry.Instance, count)
	// A wall that is required and missing is told at the start.
	p, _ := m.planWalls(o.Unconfined)
	err = each(ctx, m, count, o.Progress, func(i int) (err error) {
		made[i], err = m.prepareOne(ctx, fw, registry.Instance{
			ID: registry.NewID(), Name: o.Name, Firmware: fw.ID, Union: o.Union, Properties: set, Ephemeral: o.Ephemeral,
		}, func(ctx context.Context, inst *registry.Instance) error { return m.mountUnion(ctx, inst, p) })
		return err
	})
	var good []*registry.Instance
	for _, inst := range made {
		if inst != nil {
			good = append(good, inst)
		}
	}
	return good, err
}

// prepareOne makes one instance, which gets its union from mount.
func (m *Manager) prepareOne(ctx context.Context, fw *registry.Firmware, inst registry.Instance,
	mount func(context.Context, *registry.Instance) error) (_ *registry.Instance, err error) {
	mark, err := m.store.Begin("instance." + inst.ID)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err == nil && inst.Ephemeral {
			m.runs.Store(inst.ID, mark) // until EndRun
		} else {
			mark.End()
		}
	}()
	lock, err := m.store.Lock(ctx, "i-"+inst.ID, registry.Exclusive)
	if err != nil {
		return nil, err
	}
	fault.Point("prepare.marked")
	// Until it is ready an instance is a half-made one, which recover removes. An
	// ephemeral one is that already for as long as its run's mark is not alive.
	inst.Removing = !inst.Ephemeral
	if err := m.registerInstance(ctx, fw, &inst); err != nil {
		lock.Remove()
		return nil, err
	}
	fault.Point("prepare.registered")
	err = mount(ctx, &inst)
	if err == nil {
		fault.Point("prepare.mounted")
		err = m.moment(ctx, hook.ActionPrepared, &inst, nil)
	}
	if err == nil && inst.Removing {
		inst.Removing = false
		err = m.store.Instances.Save(&inst)
	}
	fault.Point("prepare.saved")
	if err != nil {
		inst.Removing = true
		err = errors.Join(err, m.remove(context.WithoutCancel(ctx), &inst))
		lock.Remove()
		return nil, err
	}
	m.tellInstance(event.Prepared, &inst)
	lock.Unlock()
	return &inst, nil
}

// markInstance marks an operation on an instance, unless this process runs it and
// has a mark on it anyway: then it returns nil, which ends nothing.
func (m *Manager) markInstance(id string) (*registry.Mark, error) {
	if m.runsHere(id) {
		return nil, nil
	}
	return m.store.Begin("instance." + id)
}

// runsHere tells whether this process has a mark on an instance from its prepare,
// or start, until EndRun is done with it.
func (m *Manager) runsHere(id string) bool {
	_, ours := m.runs.Load(id)
	return ours
}

// errGoing says that a firmware is no longer there for a new instance.
var errGoing = errors.New("it is being removed")

// registerInstance writes the record of a new instance under a name of its own.
func (m *Manager) registerInstance(ctx context.Context, fw *registry.Firmware, inst *registry.Instance) error {
	names, err := m.store.Lock(ctx, "names", registry.Exclusive)
	if err != nil {
		return err
	}
	defer names.Unlock()
	if now, err := m.store.Firmwares.Load(fw.ID); err != nil || now.Removing {
		return fmt.Errorf("cannot prepare an instance of firmware %s: %w", fw.Name, errGoing)
	}
	all, _ := m.store.Instances.All()
	taken := map[string]bool{}
	for _, other := range all {
		taken[other.Name] = true
	}
	if inst.Name == "" {
		inst.Name = newName(taken)
	} else if taken[inst.Name] {
		return fmt.Errorf("cannot prepare instance %s: there is one of that name; drop it or choose another name", inst.Name)
	}
	inst.Created = time.Now()
	return m.store.Instances.Save(inst)
}

// change runs do with an instance locked exclusively and its record read anew:
// it may have been dropped or changed since it was found, and its last run may
// have ended without anybody there to do what is due then.
func (m *Manager) change(ctx context.Context, inst *registry.Instance, do func() error) error {
	lock, err := m.store.Lock(ctx, "i-"+inst.ID, registry.Exclusive)
	if err != nil {
		return err
	}
	now, err := m.store.Instances.Load(inst.ID)
	if err != nil {
		lock.Remove()
		return err
	}
	defer lock.Unlock()
	*inst = *now
	if inst.Removing {
		return fmt.Errorf("instance %s is being dropped", inst.Name)
	}
	m.settle(ctx, inst)
	return do()
}

// DropOptions are what `drop` takes.
type DropOptions struct {
	Force bool // kill it first if it runs
	Keep  bool // leave the rw layer's files
}

// Drop unmounts and removes an instance. With Keep it returns where its rw layer
// is now. Needs Enter.
func (m *Manager) Drop(ctx context.Context, inst *registry.Instance, o DropOptions) (kept string, err error) {
	mark, err := m.markInstance(inst.ID)
	if err != nil && !isFull(err) {
		return "", err
	}
	defer mark.End()
	lock, err := m.store.Lock(ctx, "i-"+inst.ID, registry.Exclusive)
	if err != nil {
		return "", err
	}
	now, err := m.store.Instances.Load(inst.ID)
	if err != nil {
		lock.Remove()
		return "", err
	}
	*inst = *now
	m.settle(ctx, inst)
	if m.status(inst.ID).Alive() {
		if !o.Force {
			lock.Unlock()
			return "", fmt.Errorf("cannot drop instance %s: it is started; kill it first, or drop --force", inst.Name)
		}
		if err := m.kill(ctx, inst, KillOptions{}); err != nil {
			lock.Unlock()
			return "", err
		}
	}
	inst.Keep = o.Keep
	fault.Point("drop.locked")
	if err := m.unlocked(lock, m.removeLast(ctx, inst)); err != nil {
		return "", err
	}
	if o.Keep {
		kept = m.at.kept(inst.ID)
	}
	return kept, nil
}

// removeLast is remove, and the end of an ephemeral firmware that had no other
// instance.
func (m *Manager) removeLast(ctx context.Context, inst *registry.Instance) error {
	subject := m.subject(inst)
	fw, err := m.store.Firmwares.Load(inst.Firmware)
	if err != nil || !fw.Ephemeral {
		return m.removeAndTell(ctx, inst, subject)
	}
	mark, err := m.store.Begin("firmware." + fw.ID) // the instance's tells nothing of it once the record is gone
	if err != nil && !isFull(err) {
		return err
	}
	if err := m.removeAndTell(ctx, inst, subject); err != nil {
		mark.End()
		return err
	}
	if err := m.removeEphemeral(ctx, fw.ID); err != nil {
		mark.Abandon()
		return err
	}
	mark.End()
	return nil
}

func (m *Manager) removeAndTell(ctx context.Context, inst *registry.Instance, subject event.Subject) error {
	if err := m.remove(ctx, inst); err != nil {
		return err
	}
	m.tell(event.Event{Type: event.Dropped, Subject: subject})
	return nil
}

// remove takes away all of an instance that is not running: union, workspace,
// run-time files and, last, the record. What it did not get to is done by the
// next command. The caller holds the instance exclusively.
//
// A full disk does not stop it, or nobody could make room: then the intent cannot
// be written, and the record goes first. What a crash leaves is then a workspace
// without a record.
func (m *Manager) remove(ctx context.Context, inst *registry.Instance) error {
	if err := m.cleanNet(ctx, inst); err != nil {
		return err
	}
	full := false
	// Nobody but the run that waits for it has use for an ephemeral instance: with that
	// run's mark dead it goes without being told to.
	if inst.Ephemeral && m.runsHere(inst.ID) && !inst.Keep {
		inst.Removing = true
	}
	if !inst.Removing {
		inst.Removing = true
		if err := m.store.Instances.Save(inst); isFull(err) {
			full = true
		} else if err != nil {
			return err
		}
	}
	fault.Point("drop.condemned")
	if err := m.unmountUnion(ctx, inst, reasonDrop); err != nil {
		// Not half dropped but whole, as long as it is mounted.
		inst.Removing, inst.Keep = false, false
		if full {
			return err
		}
		return errors.Join(err, m.store.Instances.Save(inst))
	}
	if inst.Keep {
		if err := m.keepLayer(inst); err != nil {
			return err
		}
	}
	fault.Point("drop.unmounted")
	m.clearProcess(ctx, inst.ID)
	_ = m.limitLayer(inst, rwlayer.DiskLimit{}) // its number may come again
	dropped := m.findMoment(hook.ActionDropped, inst, nil)
	m.freeIDs(inst.ID)
	m.releaseNet(inst)
	if full {
		if err := m.store.Instances.Delete(inst.ID); err != nil {
			return err
		}
	}
	for _, dir := range []string{m.at.workspace(inst.ID), m.at.runtime(inst.ID)} {
		if err := mount.RemoveAll(dir); err != nil {
			return fmt.Errorf("cannot drop instance %s: %w", inst.Name, err)
		}
		fault.Point("drop.emptied")
	}
	if err := m.UnloadUnusedProfiles(ctx); err != nil {
		return fmt.Errorf("cannot drop instance %s: %w", inst.Name, err)
	}
	if err := m.noteDropped(inst.ID, dropped); err != nil {
		return fmt.Errorf("cannot drop instance %s: %w", inst.Name, err)
	}
	fault.Point("drop.noted")
	if err := m.store.Instances.Delete(inst.ID); err != nil {
		return err
	}
	fault.Point("drop.forgotten")
	return m.callDropped(ctx, inst.ID, dropped, nil)
}

func (m *Manager) keepLayer(inst *registry.Instance) error {
	kept := m.at.kept(inst.ID)
	err := os.MkdirAll(filepath.Dir(kept), 0o700)
	if err == nil {
		err = os.Rename(m.at.rw(inst.ID), kept)
		fault.Point("drop.kept")
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot keep the rw layer of instance %s: %w", inst.Name, err)
	}
	return nil
}
