// SPDX-License-Identifier: Apache-2.0

// Package config reads firmwared's settings: built-in defaults, one TOML file,
// the environment and --root, in rising order of precedence.
//
// It is strict: a key that does not exist or a value that makes no sense is an
// error naming the file and line, or the variable; nothing is guessed and no
// half-read configuration is returned. It creates no directory and looks at no
// path but the configuration file and, for LibDir, the hook directories. It
// keeps no state; a Config may be read from many goroutines at once.
package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Built-in defaults that a packager or a checkout may move with
// -ldflags "-X firmwared/core/config.DefaultHookDirs=...". Lists are separated
// by colons, as in the environment.
var (
	DefaultFile     = "/etc/firmwared/firmwared.toml"
	DefaultStateDir = "/var/lib/firmwared"
	DefaultRunDir   = "/run/firmwared"
	DefaultHookDirs = "/etc/firmwared/hooks:/usr/libexec/firmwared/hooks"
	// DefaultSupervise is the file of firmwared-supervise; empty in a build that has
	// none, and supervises by itself.
	DefaultSupervise   = ""
	DefaultProfileDirs = "/etc/firmwared/profiles:/usr/share/firmwared/profiles"
)

// Variables that steer Load itself and are no settings.
const (
	envFile = "FIRMWARED_CONFIG"
	envRoot = "FIRMWARED_ROOT"
)

// Config holds every setting, each one valid.
type Config struct {
	StateDir    string                   // records and workspaces
	RunDir      string                   // what a reboot ends
	HookDirs    []string                 // searched in this order
	ProfileDirs []string                 // searched in this order
	Union       string                   // the hook that makes unions
	AppArmor    string                   // auto, required or off
	UserNS      string                   // auto, on or off
	UserNSFirst uint32                   // ids of this machine for user namespaces: the first
	UserNSCount uint32                   // and how many
	NetPool     string                   // IPv4 network, as 10.202.0.0/16
	Timeouts    map[string]time.Duration // "hook" or "hook.action" to its limit; see Timeout
	Jobs        int                      // objects worked on at once; 0: as many as processors
	Cmdline     []string                 // pid 1 when neither the call nor a property says
	DetachKeys  string                   // comma-separated, as "ctrl-p,ctrl-q"
	LogMax      int64                    // bytes of one console log
	FetchMax    int64                    // bytes of one download, and of what it is unpacked to
	FetchCA     string                   // certificates for fetching; "": the system's
	FetchStall  int                      // seconds without data; 0: no limit

	LibDir string // where lib.bash lies: derived from HookDirs, no setting
	File   string // the file that was read; empty if there was none

	origins map[string]string
}

// Load reads the settings. An empty path stands for FIRMWARED_CONFIG and then
// for DefaultFile; only a file that somebody named must exist, which explicit
// says of a path that is given. An empty root stands for FIRMWARED_ROOT; a root
// decides both state_dir and run_dir, whatever else sets them. A variable that
// is empty counts as unset.
func Load(path string, explicit bool, root string, getenv func(string) string) (*Config, error) {
	c := &Config{origins: make(map[string]string, len(settings))}
	for _, s := range settings {
		if err := s.set(c, s.def()); err != nil {
			return nil, fmt.Errorf("cannot use built-in default of %s: %w", s.key, err)
		}
		c.origins[s.key] = "default"
	}
	if path == "" {
		if path = getenv(envFile); path != "" {
			explicit = true
		} else {
			path, explicit = DefaultFile, false
		}
	}
	if err := c.loadFile(path, explicit); err != nil {
		return nil, err
	}
	if err := c.loadEnvironment(getenv); err != nil {
		return nil, err
	}
	if err := c.moveToRoot(root, getenv); err != nil {
		return nil, err
	}
	c.LibDir = findLib(c.HookDirs)
	return c, nil
}

func (c *Config) loadEnvironment(getenv func(string) string) error {
	for _, s := range settings {
		text := getenv(s.env())
		if text == "" {
			continue
		}
		if err := s.setText(c, text); err != nil {
			return fmt.Errorf("cannot use environment %s=%q: %w", s.env(), text, err)
		}
		c.origins[s.key] = "environment " + s.env()
	}
	return nil
}

func (c *Config) moveToRoot(root string, getenv func(string) string) error {
	origin := "--root"
	if root == "" {
		root, origin = getenv(envRoot), "environment "+envRoot
	}
	if root == "" {
		return nil
	}
	dir, err := filepath.Abs(root)
	if err != nil {
		return fmt.Errorf("cannot use %s %q: %w", origin, root, err)
	}
	c.StateDir, c.RunDir = dir, filepath.Join(dir, "run")
	c.origins["state_dir"], c.origins["run_dir"] = origin, origin
	return nil
}

// findLib gives the first directory with a lib.bash; if none has one, the last,
// which is the shipped one and so the one to be named as lacking it.
func findLib(dirs []string) string {
	for _, dir := range dirs {
		if info, err := os.Stat(filepath.Join(dir, "lib.bash")); err == nil && info.Mode().IsRegular() {
			return dir
		}
	}
	return dirs[len(dirs)-1]
}

// Timeout gives the limit that somebody set for an action of a hook. With
// false nobody did, and the contract's own limit holds.
func (c *Config) Timeout(hook, action string) (time.Duration, bool) {
	if d, ok := c.Timeouts[hook+"."+action]; ok {
		return d, true
	}
	d, ok := c.Timeouts[hook]
	return d, ok
}

// Entry is one setting with its present value.
type Entry struct {
	Key    string // as written in the file
	Value  string // in TOML, so that "Key = Value" is a line of a file
	Origin string // "default", "file PATH:LINE", "environment NAME" or "--root"
}

// Entries lists every setting, in the order of the example file.
func (c *Config) Entries() []Entry {
	list := make([]Entry, 0, len(settings))
	for _, s := range settings {
		list = append(list, Entry{Key: s.key, Value: s.show(c), Origin: c.origins[s.key]})
	}
	return list
}

// Environ is, of the variables of an environment, those that Load reads, so set
// that Load("", false, "", os.Getenv) gives the same settings in a process of
// another working directory that was told nothing else.
func (c *Config) Environ(environ []string) []string {
	var kept []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		key, ours := strings.CutPrefix(name, "FIRMWARED_")
		if _, known := findSetting(strings.ToLower(key)); ours && known && key != "STATE_DIR" && key != "RUN_DIR" {
			kept = append(kept, entry)
		}
	}
	if file, err := filepath.Abs(c.File); err == nil && c.File != "" {
		kept = append(kept, envFile+"="+file)
	}
	return append(kept, "FIRMWARED_STATE_DIR="+c.StateDir, "FIRMWARED_RUN_DIR="+c.RunDir)
}
