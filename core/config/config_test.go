// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

func environment(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "firmwared.toml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string, pairs ...string) *Config {
	t.Helper()
	c, err := Load(write(t, text), true, "", environment(pairs...))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func entry(t *testing.T, c *Config, key string) Entry {
	t.Helper()
	for _, e := range c.Entries() {
		if e.Key == key {
			return e
		}
	}
	t.Fatalf("no entry %s", key)
	return Entry{}
}

func TestDefaultsNeedNoFile(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "none.toml")
	c, err := Load(missing, false, "", environment())
	if err != nil {
		t.Fatal(err)
	}
	if c.StateDir != "/var/lib/firmwared" || c.RunDir != "/run/firmwared" || c.Union != "mount" || c.File != "" {
		t.Errorf("wrong defaults: %+v", c)
	}
	if !reflect.DeepEqual(c.Cmdline, []string{"/sbin/init"}) || c.LogMax != 16<<20 || len(c.Timeouts) != 0 {
		t.Errorf("wrong defaults: %+v", c)
	}
	for _, e := range c.Entries() {
		if e.Origin != "default" {
			t.Errorf("%s comes from %s", e.Key, e.Origin)
		}
	}
	if _, err := Load(missing, true, "", environment()); err == nil || !strings.Contains(err.Error(), "none.toml") {
		t.Errorf("missing file named by --config: %v", err)
	}
	if _, err := Load("", false, "", environment("FIRMWARED_CONFIG", missing)); err == nil {
		t.Error("missing file named by FIRMWARED_CONFIG is no error")
	}
}

func TestPrecedence(t *testing.T) {
	path := write(t, "union_hook = 'aufs'\njobs = 3\n\nstate_dir = '/srv/fw'\n")
	c, err := Load(path, true, "", environment("FIRMWARED_JOBS", "5", "FIRMWARED_APPARMOR", "off"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Jobs != 5 || c.Union != "aufs" || c.AppArmor != "off" || c.StateDir != "/srv/fw" || c.File != path {
		t.Errorf("wrong values: %+v", c)
	}
	for key, want := range map[string]Entry{
		"jobs":       {"jobs", "5", "environment FIRMWARED_JOBS"},
		"union_hook": {"union_hook", `"aufs"`, "file " + path + ":1"},
		"state_dir":  {"state_dir", `"/srv/fw"`, "file " + path + ":4"},
		"apparmor":   {"apparmor", `"off"`, "environment FIRMWARED_APPARMOR"},
		"userns":     {"userns", `"auto"`, "default"},
	} {
		if got := entry(t, c, key); got != want {
			t.Errorf("%s: got %+v, want %+v", key, got, want)
		}
	}
}

func TestRootWinsOverAll(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	path := write(t, "state_dir = '/a'\nrun_dir = '/b'\n")
	env := environment("FIRMWARED_STATE_DIR", "/c", "FIRMWARED_ROOT", "/d")
	c, err := Load(path, true, "odd, na:me\n\\", env)
	if err != nil {
		t.Fatal(err)
	}
	want := filepath.Join(here, "odd, na:me\n\\")
	if c.StateDir != want || c.RunDir != want+"/run" || entry(t, c, "run_dir").Origin != "--root" {
		t.Errorf("got %q and %q", c.StateDir, c.RunDir)
	}
	if c, err = Load(path, true, "", env); err != nil || c.StateDir != "/d" || c.RunDir != "/d/run" {
		t.Errorf("FIRMWARED_ROOT gave %+v, %v", c, err)
	}
}

func TestTimeouts(t *testing.T) {
	const want = `{ "mount" = "1m0s", "squashfs.mount" = "2m0s" }`
	for _, text := range []string{
		"[hook_timeouts]\nmount = '1m'\nsquashfs.mount = 120\n",
		"hook_timeouts = { mount = 60, 'squashfs.mount' = '2m' }",
		"hook_timeouts.mount = '60s'\nhook_timeouts.squashfs.mount = '2m'\n",
		"[hook_timeouts]\nmount = '1m'\n[hook_timeouts.squashfs]\nmount = '2m'\n",
	} {
		c := load(t, text)
		if got := entry(t, c, "hook_timeouts"); got.Value != want || !strings.HasSuffix(got.Origin, "firmwared.toml:1") {
			t.Errorf("%q: got %s from %s", text, got.Value, got.Origin)
		}
	}
	c := load(t, "", "FIRMWARED_HOOK_TIMEOUTS", "mount=1m, squashfs.mount=2m")
	if got := entry(t, c, "hook_timeouts").Value; got != want {
		t.Errorf("environment: got %s", got)
	}
	for _, q := range []struct {
		hook, action string
		want         time.Duration
		set          bool
	}{
		{"mount", "unmount", time.Minute, true},
		{"squashfs", "mount", 2 * time.Minute, true},
		{"squashfs", "probe", 0, false},
	} {
		if got, set := c.Timeout(q.hook, q.action); got != q.want || set != q.set {
			t.Errorf("%s.%s: got %v, %v", q.hook, q.action, got, set)
		}
	}
}

func TestValuesFromTheEnvironment(t *testing.T) {
	c := load(t, "",
		"FIRMWARED_HOOK_DIRS", "/a//b:/c", "FIRMWARED_PROFILE_DIRS", `["/with:colon", "/p"]`,
		"FIRMWARED_CMDLINE", " /bin/sh  -l", "FIRMWARED_LOG_MAX", "2M", "FIRMWARED_DETACH_KEYS", "ctrl-p,q")
	if !reflect.DeepEqual(c.HookDirs, []string{"/a/b", "/c"}) ||
		!reflect.DeepEqual(c.ProfileDirs, []string{"/with:colon", "/p"}) ||
		!reflect.DeepEqual(c.Cmdline, []string{"/bin/sh", "-l"}) || c.LogMax != 2<<20 || c.DetachKeys != "ctrl-p,q" {
		t.Errorf("got %+v", c)
	}
}

func TestLibDir(t *testing.T) {
	empty, full := t.TempDir(), t.TempDir()
	if err := os.WriteFile(full+"/lib.bash", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if c := load(t, "", "FIRMWARED_HOOK_DIRS", empty+":"+full+":/nowhere"); c.LibDir != full {
		t.Errorf("got %s, want the directory with lib.bash", c.LibDir)
	}
	if c := load(t, "", "FIRMWARED_HOOK_DIRS", empty+":/nowhere"); c.LibDir != "/nowhere" {
		t.Errorf("got %s, want the last directory", c.LibDir)
	}
}

// The environment of a hook holds the contract's variables. A firmwared that is
// called from a hook must not take them for settings.
func TestNoKeyIsNamedAsTheContract(t *testing.T) {
	taken := map[string]bool{envFile: true, envRoot: true}
	for _, name := range strings.Fields(`API ACTION LAYER FIRMWARE RO LOWERDIR RW WORKDIR UNION ID NAME STATE LABEL
		CONFINEMENT REASON VERBOSE TIMEOUT LIB`) {
		taken["FIRMWARED_"+name] = true
	}
	for _, s := range settings {
		if taken[s.env()] || strings.HasPrefix(s.env(), "FIRMWARED_OPT_") || strings.HasPrefix(s.env(), "FIRMWARED_X_") {
			t.Errorf("%s is taken", s.env())
		}
	}
}

func TestEnvironGivesTheSameSettings(t *testing.T) {
	set := []string{"FIRMWARED_ROOT=/elsewhere", "FIRMWARED_STATE_DIR=/old", "FIRMWARED_HOOK_TIMEOUTS=dead.d=2m", "FIRMWARED_JOBS=7",
		"FIRMWARED_UNHEARD_OF=1", "PATH=/bin", "FIRMWARED_CONFIG=/other"}
	getenv := func(entries []string) func(string) string {
		return func(name string) string {
			for _, entry := range entries {
				if key, value, _ := strings.Cut(entry, "="); key == name {
					return value
				}
			}
			return ""
		}
	}
	file := write(t, "jobs = 3\nlog_max = 65537\n")
	before, err := Load(file, true, "/root dir", getenv(set))
	if err != nil {
		t.Fatal(err)
	}
	environ := before.Environ(set)
	after, err := Load("", false, "", getenv(environ))
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range before.Entries() {
		if got := after.Entries()[i].Value; got != e.Value {
			t.Errorf("%s: %s became %s", e.Key, e.Value, got)
		}
	}
	if after.StateDir != "/root dir" || after.Jobs != 7 || after.LogMax != 65537 || after.File != file {
		t.Errorf("%+v", after)
	}
	for _, entry := range environ {
		if strings.HasPrefix(entry, "PATH=") || strings.HasPrefix(entry, "FIRMWARED_UNHEARD") || strings.HasPrefix(entry, "FIRMWARED_ROOT") {
			t.Errorf("%s was kept", entry)
		}
	}
}
