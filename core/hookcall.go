// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/registry"
)

func (m *Manager) newRunner(verbose bool) *hook.Runner {
	return &hook.Runner{
		Lib: m.cfg.LibDir,
		Timeout: func(name, action string) time.Duration {
			limit, set := m.cfg.Timeout(name, action)
			if _, ok := hook.FindMoment(action); ok {
				limit, set = m.cfg.Timeout(action, "d") // by the name of the directory: dead.d
			}
			if !set {
				return hook.DefaultTimeout(action)
			}
			return limit
		},
		Verbose:  verbose,
		Log:      func(l hook.Line) { m.logHook(l, verbose) },
		CacheDir: filepath.Join(m.at.run, "describe"),
		Cgroup:   []string{cgroupRoot, m.at.key, "hooks"},
	}
}

// logHook shows what a hook says and, if verbose, when it was called and how it
// ended.
func (m *Manager) logHook(l hook.Line, verbose bool) {
	if verbose {
		m.notice(l.String())
	}
}

// callMount has a hook mount what goes at point, and sees to it that nothing is
// left there if it could not. verify looks at what the hook did; its error is a
// failed mount too.
func (m *Manager) callMount(ctx context.Context, c hook.Call, point string, verify func() error) error {
	c.Action = hook.ActionMount
	_, err := m.callLayer(ctx, c)
	if err == nil {
		if err = verify(); err == nil {
			return nil
		}
		err = fmt.Errorf("%s: hook %s reported success, but %w", c.Object, c.Hook.Name, err)
		if errors.Is(err, unix.ENOTCONN) && !c.Daemon {
			err = fmt.Errorf("%w; what a hook leaves running is ended unless its describe says daemon=yes", err)
		}
		m.keepHookError(c, err)
	}
	// Undone even if the user has had enough of waiting: ctx may be over.
	undo := m.callUnmount(context.WithoutCancel(ctx), c, point, reasonFailedMount)
	return errors.Join(explainMount(err), undo)
}

// Why a hook is asked to unmount: FIRMWARED_REASON.
const (
	reasonDrop        = "drop"
	reasonRemove      = "remove"
	reasonReset       = "reset"
	reasonRemount     = "remount"
	reasonFailedMount = "failed-mount"
	reasonRecover     = "recover"
)

// callUnmount has a hook unmount what is at point, and checks.
func (m *Manager) callUnmount(ctx context.Context, c hook.Call, point, reason string) error {
	c.Action = hook.ActionUnmount
	vars := map[string]string{hook.VarReason: reason}
	for key, value := range c.Vars {
		vars[key] = value
	}
	c.Vars = vars
	if c.Plain && reason != reasonFailedMount && m.plainUnmount(c, point) {
		return nil
	}
	_, err := m.callLayer(ctx, c)
	var failed *hook.Error
	busy := errors.As(err, &failed) && failed.Busy() && !mount.Free(point)
	if c.Daemon && !busy { // who uses the mount needs its daemon
		err = errors.Join(err, m.runner.Sweep(c.Scope))
	}
	if mount.Free(point) {
		return err
	}
	if err == nil {
		err = fmt.Errorf("%s: hook %s reported success, but %s is still mounted", c.Object, c.Hook.Name, point)
		m.keepHookError(c, err)
	}
	if busy {
		if holders := mount.Holders(point); len(holders) > 0 {
			return fmt.Errorf("%w; %s is held by %s", err, point, firstOf(holders))
		}
	}
	return err
}

// plainUnmount does by itself what a hook that said unmount=plain would do to one
// mount that has nothing on record, and saves starting it. Whatever else there is,
// a mount that is in use for instance, is the hook's to undo and to tell.
func (m *Manager) plainUnmount(c hook.Call, point string) bool {
	return !c.Daemon && empty(c.Vars[hook.VarState]) && mount.Unmount(point) == nil && mount.Free(point)
}

// firstOf names up to three holders.
func firstOf(holders []mount.Holder) string {
	var names []string
	for _, h := range holders {
		names = append(names, h.String())
	}
	if len(names) > 3 {
		names = append(names[:3], fmt.Sprintf("%d more", len(names)-3))
	}
	return strings.Join(names, ", ")
}

// probe asks a hook whether a firmware's source is its own. said is what the hook
// has to say to a no, if anything.
func (m *Manager) probe(ctx context.Context, h hook.Hook, fw *registry.Firmware) (mine bool, said string, err error) {
	_, err = m.runner.Run(ctx, hook.Call{
		Hook:   h,
		Action: hook.ActionProbe,
		Object: "firmware " + quote(fw.Path),
		Vars:   map[string]string{hook.VarFirmware: fw.Path},
	})
	var failed *hook.Error
	if errors.As(err, &failed) && failed.NotMine() {
		if last := len(failed.Stderr) - 1; last >= 0 {
			said = h.Name + hook.Suffix + ": " + failed.Stderr[last]
		}
		return false, said, nil
	}
	return err == nil, "", err
}
