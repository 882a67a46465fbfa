// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/fault"
	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// Commit makes a firmware of what an instance changed, on top of its own one. It
// belongs to the program and goes with its record. Needs Enter.
func (m *Manager) Commit(ctx context.Context, inst *registry.Instance, name string) (fw *registry.Firmware, err error) {
	err = m.standing(ctx, inst, name, func(u union) error {
		c, err := m.newCopy()
		defer c.discard()
		if err != nil {
			return err
		}
		if err := os.Mkdir(c.path, 0o700); err != nil {
			return err
		}
		fault.Point("commit.begun")
		if err := rwlayer.Commit(ctx, m.at.rw(inst.ID), m.firmwareDirs(u), c.path); err != nil {
			return err
		}
		fault.Point("commit.copied")
		fw = &registry.Firmware{Path: c.path, Base: inst.Firmware, Name: name, Created: time.Now()}
		if err := m.chooseHook(ctx, fw, ""); err != nil {
			return err
		}
		fw, err = m.register(ctx, fw, c, "commit", filepath.Base(c.path))
		return err
	})
	return fw, err
}

// FlattenDirectory is what Flatten makes a directory for.
const FlattenDirectory = "directory"

// Flatten makes a firmware of all that an instance shows, on nothing: at path, by
// a hook's action pack, or as a directory. It belongs to the user. progress gets
// what the hook tells, or how many objects of a directory are copied, and may be nil.
// Needs Enter.
func (m *Manager) Flatten(ctx context.Context, inst *registry.Instance, name, hookName, path string, progress func(done, total int64)) (*registry.Firmware, error) {
	if _, err := os.Lstat(path); err == nil {
		return nil, fmt.Errorf("cannot commit instance %s to %s: it is there already", inst.Name, quote(path))
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	err = m.standing(ctx, inst, name, func(u union) error {
		scratch, err := os.MkdirTemp(filepath.Dir(path), ".firmwared-")
		if err != nil {
			return fmt.Errorf("cannot make a directory beside %s: %w", quote(path), cause(err))
		}
		made := filepath.Join(scratch, "firmware")
		if hookName == FlattenDirectory {
			if err = os.Mkdir(made, 0o700); err == nil {
				err = rwlayer.Flatten(ctx, append([]string{m.at.rw(inst.ID)}, m.firmwareDirs(u)...), made, progress)
			}
		} else {
			err = m.pack(ctx, inst, hookName, made, progress)
		}
		if err == nil {
			err = unix.Renameat2(unix.AT_FDCWD, made, unix.AT_FDCWD, path, unix.RENAME_NOREPLACE)
		}
		return errors.Join(err, mount.RemoveAll(scratch))
	})
	if err != nil {
		return nil, err
	}
	fw, err := m.addMade(ctx, path, name, hookName)
	if err != nil {
		return nil, errors.Join(err, mount.RemoveAll(path))
	}
	return fw, nil
}

// addMade registers what Flatten made and sees that it can be mounted.
func (m *Manager) addMade(ctx context.Context, path, name, hookName string) (*registry.Firmware, error) {
	o := AddOptions{Name: name, Hook: hookName}
	if hookName == FlattenDirectory {
		o.Hook = ""
	}
	fw, err := m.Add(ctx, path, o)
	if err != nil {
		return nil, err
	}
	if _, err := m.ensureLower(ctx, fw.ID); err != nil {
		return nil, errors.Join(err, m.Remove(context.WithoutCancel(ctx), fw))
	}
	return fw, nil
}

// pack has a hook make an image of an instance's union.
func (m *Manager) pack(ctx context.Context, inst *registry.Instance, name, output string, progress func(done, total int64)) error {
	h, err := m.hooks.Find(name)
	if err != nil {
		return err
	}
	d, err := m.runner.Describe(ctx, h)
	if err != nil {
		return err
	}
	if !d.Pack {
		return fmt.Errorf("hook %s makes no images: its describe does not say pack=yes", h.Name)
	}
	_, err = m.runner.Run(ctx, hook.Call{
		Hook: h, Action: hook.ActionPack, Object: "instance " + inst.Name,
		Vars: map[string]string{hook.VarFirmware: m.at.union(inst.ID), hook.VarOutput: output},
		Line: func(line string) {
			if done, total, ok := hook.ParseProgress(line); ok && progress != nil {
				progress(done, total)
			}
		},
	})
	if err != nil {
		return err
	}
	if info, err := os.Lstat(output); err != nil || !info.Mode().IsRegular() {
		return fmt.Errorf("hook %s reported success, but made no image", h.Name)
	}
	return syncFile(output)
}

func syncFile(path string) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

// standing calls do with an instance that is mounted, does not run and is kept by
// its lock, so that nothing changes it, if a firmware can get the name.
func (m *Manager) standing(ctx context.Context, inst *registry.Instance, name string, do func(union) error) error {
	err := m.change(ctx, inst, func() error {
		if err := m.freeName(name); err != nil {
			return err
		}
		if m.status(inst.ID).Alive() {
			return errors.New("it is started; kill it first")
		}
		mark, err := m.store.Begin("instance." + inst.ID)
		if err != nil {
			return err
		}
		defer mark.End()
		p, _ := m.planWalls(false)
		if err := m.ensureUnion(ctx, inst, p, false, reasonRecover); err != nil {
			return err
		}
		u, _ := m.readUnion(inst.ID)
		return do(u)
	})
	if err != nil {
		return fmt.Errorf("cannot commit instance %s: %w", inst.Name, err)
	}
	return nil
}

// freeName says early what create would say after all the work.
func (m *Manager) freeName(name string) error {
	if name == "" {
		return nil
	}
	if err := registry.CheckName(name); err != nil {
		return err
	}
	all, _ := m.store.Firmwares.All()
	if slices.ContainsFunc(all, func(fw *registry.Firmware) bool { return fw.Name == name }) {
		return fmt.Errorf("another firmware is named %s", name)
	}
	return nil
}
