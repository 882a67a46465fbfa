// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"os"
	"path/filepath"
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
