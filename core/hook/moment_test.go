// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMomentNames(t *testing.T) {
	for name, want := range map[string]bool{
		"10-net": true, "a": true, "B.sh": true, "x_1": true, "a.bakery": true, "dpkg-new": true, "x.rpm": false,
		"": false, ".a": false, "_a": false, "-a": false, "a~": false, "a.bak": false, "a.dpkg-dist": false,
		"a.rpmnew": false, "a b": false, "a/b": false, "ä": false, "a\n": false, strings.Repeat("a", 201): false,
	} {
		if ValidMomentName(name) != want {
			t.Errorf("%q: got %v", name, !want)
		}
	}
}

func TestMomentHooks(t *testing.T) {
	top := t.TempDir()
	dirs := Dirs{filepath.Join(top, "site"), filepath.Join(top, "none"), filepath.Join(top, "shipped")}
	put := func(path string, mode os.FileMode) {
		t.Helper()
		path = filepath.Join(top, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	put("shipped/dead.d/10-a", 0o755)
	put("shipped/dead.d/20-b", 0o755)
	put("shipped/dead.d/30-masked", 0o755)
	put("shipped/dead.d/15-refused-above", 0o755)
	put("site/dead.d/20-b", 0o755)
	put("site/dead.d/15-refused-above", 0o777)
	put("site/dead.d/README", 0o644)
	put("site/dead.d/05-old~", 0o777)
	put("site/started.d/99-other", 0o755)
	if err := os.Symlink("/dev/null", filepath.Join(top, "site/dead.d/30-masked")); err != nil {
		t.Fatal(err)
	}
	hooks, problems := dirs.Moment(ActionDead)
	var got []string
	for _, h := range hooks {
		got = append(got, strings.TrimPrefix(h.Path, top+"/"))
	}
	if want := "shipped/dead.d/10-a site/dead.d/20-b"; strings.Join(got, " ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
	if len(problems) != 2 || !strings.Contains(problems[0].Error(), "15-refused-above is writable") ||
		!strings.Contains(problems[1].Error(), "README is not executable") {
		t.Errorf("problems %v", problems)
	}
	if hooks, problems := dirs.Moment(ActionPrepared); hooks != nil || problems != nil {
		t.Errorf("without directories: %v, %v", hooks, problems)
	}
}

func TestEveryMomentIsAnAction(t *testing.T) {
	for _, m := range moments {
		if checkAction(m.Action, "") != "" {
			t.Errorf("%s is not in the table of actions", m.Action)
		}
		if got := title("10-x", m.Action); got != m.Action+".d/10-x" {
			t.Errorf("a hook of %s is called %s", m.Action, got)
		}
	}
	if got := title("mount", ActionMount); got != "mount.hook" {
		t.Errorf("mount.hook is called %s", got)
	}
}
