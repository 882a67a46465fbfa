// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func names(hooks []Hook) string {
	var out []string
	for _, h := range hooks {
		out = append(out, h.Name)
	}
	return strings.Join(out, " ")
}

func TestFindFirstOfAName(t *testing.T) {
	site, stock := t.TempDir(), t.TempDir()
	write(t, stock, "a", "")
	write(t, stock, "b", "")
	want := write(t, site, "b", "")
	dirs := Dirs{filepath.Join(site, "missing"), site, stock}
	if h, err := dirs.Find("b"); err != nil || h.Path != want {
		t.Errorf("found %q, %v", h.Path, err)
	}
	if h, err := dirs.Find("a"); err != nil || h.Name != "a" || filepath.Dir(h.Path) != stock {
		t.Errorf("found %+v, %v", h, err)
	}
	_, err := dirs.Find("c")
	var missing *NotFoundError
	if !errors.As(err, &missing) || len(missing.Tried) != 3 || missing.Tried[1] != site+"/c.hook" {
		t.Fatalf("got %v", err)
	}
	for _, path := range missing.Tried {
		if !strings.Contains(err.Error(), path) {
			t.Errorf("%q does not name %s", err, path)
		}
	}
	for _, bad := range []string{"", "A", "a/b", "../a", "a.b", "-a", "_a", "a b"} {
		if _, err := dirs.Find(bad); err == nil || errors.As(err, &missing) && missing.Name == bad {
			t.Errorf("%q gave %v", bad, err)
		}
	}
	if _, err := (Dirs{}).Find("a"); err == nil || !strings.Contains(err.Error(), "no hook directory") {
		t.Errorf("got %v", err)
	}
}

func TestMask(t *testing.T) {
	site, stock := t.TempDir(), t.TempDir()
	write(t, stock, "a", "")
	write(t, stock, "b", "")
	mask := filepath.Join(site, "a.hook")
	if err := os.Symlink("/dev/null", mask); err != nil {
		t.Fatal(err)
	}
	dirs := Dirs{site, stock}
	_, err := dirs.Find("a")
	var missing *NotFoundError
	if !errors.As(err, &missing) || missing.Masked != mask || !strings.Contains(err.Error(), "masked by "+mask) {
		t.Errorf("got %v", err)
	}
	hooks, problems := dirs.List()
	if names(hooks) != "b" || len(problems) > 0 {
		t.Errorf("got %v, %v", names(hooks), problems)
	}
}

func TestListNamesEveryProblem(t *testing.T) {
	site, stock := t.TempDir(), t.TempDir()
	for _, name := range []string{"good", "wide", "plain"} {
		write(t, stock, name, "")
	}
	write(t, site, "Upper", "")
	write(t, site, "plain", "")
	write(t, site, "zz", "")
	if err := os.WriteFile(filepath.Join(site, "lib.bash"), nil, 0o666); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]os.FileMode{site + "/plain.hook": 0o644, stock + "/wide.hook": 0o777} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	hooks, problems := Dirs{site, stock, filepath.Join(site, "zz.hook")}.List()
	if names(hooks) != "good zz" {
		t.Errorf("hooks %s", names(hooks))
	}
	text := errors.Join(problems...).Error()
	for _, want := range []string{site + "/Upper.hook has a bad name", site + "/plain.hook is not executable",
		stock + "/wide.hook is writable by others", "cannot read hook directory"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in %s", want, text)
		}
	}
	if len(problems) != 4 {
		t.Errorf("%d problems: %s", len(problems), text)
	}
}

func TestProbeOrder(t *testing.T) {
	hooks := []Hook{{Name: "mount"}, {Name: "zip"}, {Name: "disk"}}
	if got := names(ProbeOrder(hooks)); got != "disk zip mount" {
		t.Error(got)
	}
	if names(hooks) != "mount zip disk" {
		t.Error("the argument was changed")
	}
}

// TestTrust has one case for each way in which somebody else than root could decide what is run.
func TestTrust(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name   string
		spoil  func(t *testing.T, dir, hook string)
		reason string // "": trusted
	}{
		{"as made", func(*testing.T, string, string) {}, ""},
		{"group may write the file", func(t *testing.T, _, hook string) { must(t, os.Chmod(hook, 0o775)) }, "test.hook is writable by others"},
		{"all may write the file", func(t *testing.T, _, hook string) { must(t, os.Chmod(hook, 0o757)) }, "test.hook is writable by others"},
		{"file of another", func(t *testing.T, _, hook string) { must(t, os.Chown(hook, 1, 0)) }, "test.hook belongs to uid 1"},
		{"not executable", func(t *testing.T, _, hook string) { must(t, os.Chmod(hook, 0o644)) }, "is not executable"},
		{"directory of another", func(t *testing.T, dir, _ string) { must(t, os.Chown(dir, 1, 0)) }, "belongs to uid 1"},
		{"all may write the directory", func(t *testing.T, dir, _ string) { must(t, os.Chmod(dir, 0o777)) }, "is writable by others"},
		{"all may write the sticky directory", func(t *testing.T, dir, _ string) { must(t, os.Chmod(dir, 0o777|os.ModeSticky)) }, ""},
		{"directory above", func(t *testing.T, dir, _ string) { must(t, os.Chmod(filepath.Dir(dir), 0o777)) }, "is writable by others"},
		{"a directory", func(t *testing.T, _, hook string) {
			must(t, os.Remove(hook))
			must(t, os.Mkdir(hook, 0o755))
		}, "is not a regular file"},
		{"a dangling link", func(t *testing.T, dir, hook string) {
			must(t, os.Remove(hook))
			must(t, os.Symlink(dir+"/gone", hook))
		}, "/gone, which does not exist"},
		{"a loop of links", func(t *testing.T, _, hook string) {
			must(t, os.Remove(hook))
			must(t, os.Symlink("test.hook", hook))
		}, "too many symbolic links"},
		{"a good link", func(t *testing.T, dir, hook string) {
			must(t, os.Mkdir(dir+"/other", 0o755))
			must(t, os.Rename(hook, dir+"/other/real"))
			must(t, os.Symlink("./other/../other//real", hook))
		}, ""},
		{"a link's target that all may write", func(t *testing.T, dir, hook string) {
			must(t, os.Rename(hook, dir+"/real"))
			must(t, os.Chmod(dir+"/real", 0o777))
			must(t, os.Symlink(dir+"/real", hook))
		}, "real is writable by others"},
		{"a link through a directory that all may write", func(t *testing.T, dir, hook string) {
			must(t, os.Mkdir(dir+"/wide", 0o755))
			must(t, os.Rename(hook, dir+"/wide/real"))
			must(t, os.Chmod(dir+"/wide", 0o777))
			must(t, os.Symlink("wide/real", hook))
		}, "wide is writable by others"},
		{"a link of another", func(t *testing.T, dir, hook string) {
			must(t, os.Rename(hook, dir+"/real"))
			must(t, os.Symlink("real", hook))
			must(t, os.Lchown(hook, 1, 1))
		}, "test.hook belongs to uid 1"},
		{"a link to a directory, by dots", func(t *testing.T, _, hook string) {
			must(t, os.Remove(hook))
			must(t, os.Symlink("/etc/passwd/..", hook))
		}, "is not a regular file"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "hooks")
			must(t, os.Mkdir(dir, 0o755))
			hook := write(t, dir, "test", "")
			c.spoil(t, dir, hook)
			_, err := Dirs{dir}.Find("test")
			var trust *TrustError
			if c.reason == "" && err != nil || c.reason != "" && (!errors.As(err, &trust) || !strings.Contains(err.Error(), c.reason)) {
				t.Errorf("got %v, want %q", err, c.reason)
			}
		})
	}
	t.Chdir("/")
	if _, err := (Dirs{"etc"}).Find("passwd"); err == nil {
		t.Error("a hook in a relative directory was found")
	}
}

// TestRefusedHookIsNotReplaced checks that a hook that lost its trust is not replaced by the next of its name.
func TestRefusedHookIsNotReplaced(t *testing.T) {
	site, stock := t.TempDir(), t.TempDir()
	write(t, stock, "a", "")
	if err := os.Chmod(write(t, site, "a", ""), 0o777); err != nil {
		t.Fatal(err)
	}
	var trust *TrustError
	if _, err := (Dirs{site, stock}).Find("a"); !errors.As(err, &trust) {
		t.Errorf("got %v", err)
	}
}
