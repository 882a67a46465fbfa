// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBadFileIsNamedByLine(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"jobs = 1\nhook_dir = 'x'\n", `:2: unknown key "hook_dir"`},
		{"\n\nfoo.bar = 1\n", `:3: unknown key "foo"`},
		{"jobs = 1\n[extra]\na = 1\n", `:2: unknown key "extra"`},
		{"jobs = 'many'\n", ":1: jobs: must be a number from 0 to 1024, not a string"},
		{"jobs = -1\n", ":1: jobs: must be a number"},
		{"jobs = 1\njobs = 2\n", ":2: "},
		{"# x\nstate_dir = 'var'\n", `:2: state_dir: "var" must be an absolute path`},
		{"state_dir = '/a'\nstate_dir.b = 1\n", ":2: "},
		{"[[state_dir]]\na = 1\n", ":1: state_dir: must be a string, not a table"},
		{"hook_dirs = '/etc/hooks'\n", ":1: hook_dirs: must be a list of strings, not a string"},
		{"hook_dirs = []\n", ":1: hook_dirs: must not be empty"},
		{"hook_dirs = ['/a', 3]\n", ":1: hook_dirs: must be a list of strings, not a number"},
		{"apparmor = 'on'\n", `:1: apparmor: "on" must be auto, required or off`},
		{"userns = true\n", ":1: userns: must be a string, not true or false"},
		{"userns_range = 65536\n", ":1: userns_range: must be a string FIRST:COUNT, not a number"},
		{"userns_range = '100000'\n", `:1: userns_range: "100000" is not FIRST:COUNT`},
		{"userns_range = '0:65536'\n", ":1: userns_range: \"0:65536\" must begin at 65536"},
		{"userns_range = '100000:65535'\n", "65536 ids or more"},
		{"net_pool = '10.202.0.0/30'\n", `:1: net_pool: "10.202.0.0/30" is not an IPv4 network from /8 to /29`},
		{"net_pool = 'fd00::/16'\n", "is not an IPv4 network"},
		{"net_pool = '10.202.0.1/16'\n", "the network is 10.202.0.0/16"},
		{"userns_range = '4294901760:65536'\n", "is not FIRST:COUNT"},
		{"cmdline = ['']\n", ":1: cmdline: the first word"},
		{"union_hook = '../x'\n", `:1: union_hook: "../x" is no name of a hook`},
		{"detach_keys = 'ctrl-1'\n", ":1: detach_keys: "},
		{"log_max = '12 parsecs'\n", `:1: log_max: "12 parsecs" is no size`},
		{"log_max = 1\n", ":1: log_max: must be between"},
		{"log_max = '-1K'\n", ":1: log_max: "},
		{"jobs = 1\n\n[hook_timeouts]\nmount = '1m'\nnet = 'soon'\n", ":5: hook_timeouts: net: \"soon\" is no duration"},
		{"hook_timeouts = { mount = 0 }\n", ":1: hook_timeouts: mount: must be between 1ms and 24h"},
		{"hook_timeouts.mount = 9223372036854775807\n", ":1: hook_timeouts: mount: must be between"},
		{"[hook_timeouts]\na.mount = 1\n'a.mount' = 2\n", "hook_timeouts: a.mount: is set twice"},
		{"[hook_timeouts]\na.b.c = 1\n", ":2: hook_timeouts: a.b: must be a duration"},
		{"jobs = 1 2\n", ":1: "},
		{"x = \"\x00\"", ":1: "},
	} {
		path := write(t, test.text)
		_, err := Load(path, true, "", environment())
		if err == nil || !strings.Contains(err.Error(), path+test.want) && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got %v, want %s", test.text, err, test.want)
			continue
		}
		if !strings.HasPrefix(err.Error(), "cannot read configuration "+path+":") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: message has the wrong shape: %v", test.text, err)
		}
	}
}

func TestBadEnvironmentIsNamed(t *testing.T) {
	for _, test := range []struct{ name, value, want string }{
		{"FIRMWARED_JOBS", "x", "must be a number"},
		{"FIRMWARED_HOOK_DIRS", "/a::/b", "absolute"},
		{"FIRMWARED_HOOK_DIRS", "[1", "no TOML array"},
		{"FIRMWARED_HOOK_DIRS", "[]\njobs = 1", "no TOML array"},
		{"FIRMWARED_HOOK_DIRS", "[1]", "list of strings"},
		{"FIRMWARED_CMDLINE", "   ", "empty"},
		{"FIRMWARED_HOOK_TIMEOUTS", "mount", "NAME=DURATION"},
		{"FIRMWARED_HOOK_TIMEOUTS", "Mount=1m", "must be named for a hook"},
		{"FIRMWARED_RUN_DIR", "run\nx", "absolute"},
	} {
		_, err := Load(write(t, ""), true, "", environment(test.name, test.value))
		if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.name) {
			t.Errorf("%s=%q: got %v", test.name, test.value, err)
		} else if strings.Contains(err.Error(), "\n") {
			t.Errorf("%s=%q: more than one line: %v", test.name, test.value, err)
		}
	}
}

func TestUnreadableFile(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(dir, false, "", environment()); err == nil {
		t.Error("a directory is taken for a configuration")
	}
	big := filepath.Join(dir, "big")
	if err := os.WriteFile(big, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(big, maxFile+1); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(big, true, "", environment()); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Errorf("a huge file: %v", err)
	}
	odd := filepath.Join(dir, "two\nlines")
	if err := os.WriteFile(odd, []byte("x = 1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(odd, true, "", environment()); err == nil || strings.Contains(err.Error(), "\n") {
		t.Errorf("a name with a newline: %v", err)
	}
}
