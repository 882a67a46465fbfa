// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"

	"firmwared/core/config"
	"firmwared/core/event"
	"firmwared/core/hook"
	"firmwared/core/registry"
)

// Manager is one root: its firmwares and instances. Its methods may be called
// at once, by several goroutines and several processes.
type Manager struct {
	cfg    *config.Config
	at     layout
	store  *registry.Store
	hooks  hook.Dirs
	runner *hook.Runner
	events event.Log
	notice func(string) // one line for the user that is no error
	root   *registry.Lock
	runs   sync.Map // id of an instance that this process runs, or is to run, or firmware.ID, to the *registry.Mark it holds
}

// Open makes ready to look at a root. It fails unless the caller is root and,
// when the root's mounts lie in another mount namespace, replaces the process by
// the same command there. notice gets lines for the user that are no errors.
func Open(cfg *config.Config, verbose bool, notice func(string)) (*Manager, error) {
	if os.Geteuid() != 0 {
		return nil, errNotRoot
	}
	m := manage(cfg, verbose, notice)
	return m, m.joinNamespace()
}

var errNotRoot = errors.New("firmwared mounts file systems and makes namespaces: run it as root (sudo firmwared ...)")

// manage names the places of a root; it touches nothing.
func manage(cfg *config.Config, verbose bool, notice func(string)) *Manager {
	state, run := resolved(cfg.StateDir), resolved(cfg.RunDir)
	m := &Manager{
		cfg:    cfg,
		at:     newLayout(state, run),
		store:  registry.Open(state, run),
		hooks:  hook.Dirs(cfg.HookDirs),
		events: event.Log{Path: filepath.Join(state, event.FileName)},
		notice: notice,
	}
	m.runner = m.newRunner(verbose)
	return m
}

// resolved follows links in what exists of a path: mounts are asked for by their
// real place.
func resolved(path string) string {
	path = filepath.Clean(path)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	if dir := filepath.Dir(path); dir != path {
		return filepath.Join(resolved(dir), filepath.Base(path))
	}
	return path
}

// Enter makes ready to change something: directories, the state directory's
// mount, and the mending of what dead commands left. Close must follow.
func (m *Manager) Enter(ctx context.Context) error {
	if err := m.store.Init(); err != nil {
		return err
	}
	if err := m.mountRoot(ctx); err != nil {
		return err
	}
	m.recover(ctx)
	return nil
}

// Close ends what Enter began, and takes the state directory's mount away when
// nothing is mounted in it any more.
func (m *Manager) Close() {
	if m.root != nil {
		m.root.Unlock()
		m.root = nil
		m.unmountRoot()
	}
}

// Each calls do for every instance, as many at once as are configured. See each.
func (m *Manager) Each(ctx context.Context, all []*registry.Instance, do func(*registry.Instance) error) error {
	return each(ctx, m, all, do)
}

// each calls do for every item, as many at once as are configured, and joins the
// errors in the order of the items. Once ctx is over no further one begins.
func each[T any](ctx context.Context, m *Manager, items []T, do func(T) error) error {
	jobs := m.cfg.Jobs
	if jobs <= 0 {
		jobs = runtime.NumCPU()
	}
	slots := make(chan struct{}, jobs)
	errs := make([]error, len(items))
	var wg sync.WaitGroup
	for i, item := range items {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			errs[i] = fmt.Errorf("not begun: %w", context.Cause(ctx))
			continue
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { <-slots }()
			errs[i] = do(item)
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}
