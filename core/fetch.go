// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"firmwared/core/fault"
	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
)

// downloads is where hooks keep what a later fetch of the same URL can go on with.
func (m *Manager) downloads() string { return filepath.Join(m.at.state, "downloads") }

// partAge is how long a broken download is kept.
const partAge = 24 * time.Hour

// scratch makes a hook's own directory, or finds it, and locks it by its name. dir is
// its path for the hook.
func (m *Manager) scratch(ctx context.Context, id string) (dir string, lock *registry.Lock, err error) {
	if lock, err = m.store.Lock(ctx, "u-"+id, registry.Exclusive); err != nil {
		return "", nil, err
	}
	dir = filepath.Join(m.at.base, "downloads", id)
	if err = os.MkdirAll(dir, 0o700); err != nil {
		lock.Remove()
	}
	return dir, lock, err
}

// asHooksSee gives the path of a copy in the tree that hooks work in: renaming
// from one mount to another would copy.
func (m *Manager) asHooksSee(c *imageCopy) string {
	return filepath.Join(m.at.base, "images", filepath.Base(c.path))
}

// fetch has a hook make a copy of what a URL names, max bytes at most. What a
// broken connection left is kept for the next fetch of that URL; nothing is after
// an interruption. The caller discards the copy, also after an error.
func (m *Manager) fetch(ctx context.Context, h hook.Hook, u remote, max int64, sha256 string, progress func(done, total int64)) (*imageCopy, error) {
	dir, lock, err := m.scratch(ctx, shortHash("download", u.raw))
	if err != nil {
		return nil, fmt.Errorf("cannot fetch %s: %w", u.shown, err)
	}
	fault.Point("fetch.begun")
	c, err := m.newCopy()
	if err == nil {
		_, err = m.runner.Run(ctx, hook.Call{
			Hook: h, Action: hook.ActionFetch, Object: u.shown,
			Vars: map[string]string{
				hook.VarURL: u.raw, hook.VarOutput: m.asHooksSee(c), hook.VarState: dir, hook.VarSHA256: sha256,
				hook.VarMax: strconv.FormatInt(max, 10), hook.VarStall: strconv.Itoa(m.cfg.FetchStall), hook.VarCA: m.cfg.FetchCA,
			},
			Line: func(line string) {
				if done, total, ok := hook.ParseProgress(line); ok && progress != nil {
					progress(done, total)
				}
			},
		})
	}
	if err != nil && ctx.Err() == nil && !empty(dir) {
		now := time.Now() // gc goes by it
		_ = os.Chtimes(dir, now, now)
		lock.Unlock()
		return c, fmt.Errorf("%w; what has come is kept for a day: add it again to go on", err)
	}
	err = errors.Join(err, mount.RemoveAll(dir))
	lock.Remove()
	if err == nil {
		fault.Point("fetch.fetched")
		err = c.check(h, u, max)
	}
	return c, err
}

// check sees whether a hook made what it was to make.
func (c *imageCopy) check(h hook.Hook, u remote, max int64) error {
	info, err := os.Lstat(c.path)
	switch {
	case err != nil || !info.Mode().IsRegular():
		return fmt.Errorf("cannot add %s: hook %s reported success, but made no file", u.shown, h.Name)
	case info.Size() > max:
		return fmt.Errorf("cannot add %s: it has %d bytes, more than the %d that are allowed: raise fetch_max", u.shown, info.Size(), max)
	}
	return os.Chmod(c.path, 0o600)
}

// unpack has the hook that fetched a file make an image of it, if it is compressed;
// done is false, and made nil, if it is none. The caller discards what was made,
// also after an error.
func (m *Manager) unpack(ctx context.Context, h hook.Hook, u remote, packed *imageCopy) (made *imageCopy, done bool, err error) {
	made, err = m.newCopy()
	if err != nil {
		return made, true, fmt.Errorf("cannot unpack %s: %w", u.shown, err)
	}
	_, err = m.runner.Run(ctx, hook.Call{
		Hook: h, Action: hook.ActionUnpack, Object: u.shown,
		Vars: map[string]string{
			hook.VarFile: m.asHooksSee(packed), hook.VarOutput: m.asHooksSee(made),
			hook.VarMax: strconv.FormatInt(m.cfg.FetchMax, 10),
		},
	})
	var failed *hook.Error
	if errors.As(err, &failed) && failed.NotMine() {
		made.discard()
		return nil, false, nil
	}
	if err == nil {
		fault.Point("fetch.unpacked")
		err = made.check(h, u, m.cfg.FetchMax)
	}
	return made, true, err
}

// maxSignature is more than any signature has.
const maxSignature = 1 << 20

// verify has the hooks judge the signature of a file that was fetched, as it came. A
// hook that does not know this kind of signature leaves it to the next one.
func (m *Manager) verify(ctx context.Context, u remote, file *imageCopy, signature, key string) error {
	if IsURL(signature) {
		of, err := parseURL(signature)
		if err != nil {
			return err
		}
		h, err := m.fetchHook(ctx, of)
		if err != nil {
			return err
		}
		c, err := m.fetch(ctx, h, of, maxSignature, "", nil)
		defer c.discard()
		if err != nil {
			return err
		}
		signature = c.path
	}
	dir, lock, err := m.scratch(ctx, registry.NewID())
	if err != nil {
		return fmt.Errorf("cannot verify %s: %w", u.shown, err)
	}
	defer lock.Remove()
	h, err := m.firstHook(ctx, hook.LayerVerify, func(h hook.Hook, _ hook.Description) (bool, error) {
		_, err := m.runner.Run(ctx, hook.Call{
			Hook: h, Action: hook.ActionVerify, Object: u.shown,
			Vars: map[string]string{hook.VarFile: file.path, hook.VarSignature: signature, hook.VarKey: key, hook.VarState: dir},
		})
		var failed *hook.Error
		if errors.As(err, &failed) && failed.NotMine() {
			return false, nil
		}
		return true, err
	})
	if err == nil && h.Name == "" {
		err = fmt.Errorf("cannot verify %s: no hook knows this kind of signature", u.shown)
	}
	return errors.Join(err, mount.RemoveAll(dir))
}

// downloaded finds broken downloads that nobody has gone on with, and what a command
// that died had for its hook.
func (g *gc) downloaded() (found []Garbage) {
	entries, _ := os.ReadDir(g.downloads())
	for _, entry := range entries {
		dir, lock := filepath.Join(g.downloads(), entry.Name()), "u-"+entry.Name()
		old := func() bool {
			info, err := os.Stat(dir)
			if err != nil {
				return false
			}
			age := time.Since(info.ModTime())
			return g.Unused || empty(dir) || age > partAge || age < -settled // the clock may have jumped
		}
		if old() && !g.store.Locked(lock) {
			found = append(found, Garbage{
				Kind: "download", Path: dir, Reason: "nobody has gone on with it", lock: lock, still: old,
				clear: func(context.Context) error { return mount.RemoveAll(dir) },
			})
		}
	}
	return found
}
