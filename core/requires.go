// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"firmwared/core/hook"
)

// lacking are the words of a hook's `requires` that this machine does not have,
// each in words for people. A kind that is not known is somebody else's. Nothing
// is loaded or changed.
func lacking(ctx context.Context, requires []string) []string {
	var missing []string
	for _, word := range requires {
		kind, name, _ := strings.Cut(word, ":")
		switch {
		case name == "": // not a word of the contract
		case kind == "tool" && hook.LookTool(name) == "":
			missing = append(missing, fmt.Sprintf("program %s (install it)", name))
		case kind == "fs" && !hasFileSystem(ctx, name):
			missing = append(missing, fmt.Sprintf("file system %s (not in this kernel, and no module)", name))
		case kind == "dm" && !hasTarget(ctx, name):
			missing = append(missing, fmt.Sprintf("device-mapper target %s (not in this kernel, and no module)", name))
		case kind == "dev" && !exists(filepath.Join("/dev", name)):
			missing = append(missing, fmt.Sprintf("device node /dev/%s", name))
		}
	}
	return missing
}

// warnOfLacking tells what a firmware's hook will miss. It may be there when the
// firmware is mounted, so it is no error.
func (m *Manager) warnOfLacking(ctx context.Context, h hook.Hook, d hook.Description) {
	if missing := lacking(ctx, d.Requires); len(missing) > 0 {
		m.notice(fmt.Sprintf("warning: hook %s needs what is missing here: %s", h.Name, strings.Join(missing, ", ")))
	}
}

// hasFileSystem tells whether the kernel has a file system or can load it.
func hasFileSystem(ctx context.Context, name string) bool {
	table, err := os.ReadFile("/proc/filesystems")
	if err != nil {
		return false
	}
	// Each line is "nodev" or nothing, a tab, and the name.
	known := slices.ContainsFunc(strings.Split(string(table), "\n"), func(line string) bool {
		_, kind, _ := strings.Cut(line, "\t")
		return kind == name
	})
	return known || loadable(ctx, "fs-"+name) || loadable(ctx, name)
}

// hasTarget tells whether the device mapper has a target or can load it. One that
// was built in shows in nothing but the mapper's own list.
func hasTarget(ctx context.Context, name string) bool {
	if exists("/sys/module/dm_"+strings.ReplaceAll(name, "-", "_")) || loadable(ctx, "dm-"+name) {
		return true
	}
	list, err := ask(ctx, "dmsetup", "targets")
	return err == nil && strings.Contains("\n"+list, "\n"+name+" ")
}

// loadable tells whether there is a module for an alias, loaded or not.
func loadable(ctx context.Context, alias string) bool {
	_, err := ask(ctx, "modprobe", "--dry-run", "--quiet", "--", alias)
	return err == nil
}

// ask runs a program of the host that only looks, from the hooks' PATH and with
// their environment. It fails after five seconds.
func ask(ctx context.Context, tool string, args ...string) (string, error) {
	path := hook.LookTool(tool)
	if path == "" {
		return "", fmt.Errorf("%s: %w", tool, exec.ErrNotFound)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = hook.FixedEnv()
	cmd.WaitDelay = time.Second
	out, err := cmd.Output()
	return string(out), err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
