// SPDX-License-Identifier: Apache-2.0

package core

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestParseBind(t *testing.T) {
	for text, want := range map[string][3]string{
		"/a:/b":         {"/a", "/b", "rw"},
		"/a:/b:ro":      {"/a", "/b", "ro"},
		"/a:/b:rw":      {"/a", "/b", "rw"},
		`/a\:b:/c\\d`:   {"/a:b", `/c\d`, "rw"},
		`/a\n:/b`:       {`/a\n`, "/b", "rw"},
		"/a b:/c,d:ro":  {"/a b", "/c,d", "ro"},
		`/ro:/ro\:x:ro`: {"/ro", "/ro:x", "ro"},
	} {
		b, err := ParseBind(text)
		mode := "rw"
		if b.ReadOnly {
			mode = "ro"
		}
		if got := [3]string{b.Source, b.Target, mode}; err != nil || got != want {
			t.Errorf("ParseBind(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "/a", ":/b", "/a:", "/a:b", "/a:/b:/c", "/a:/b:ro:ro"} {
		if b, err := ParseBind(text); err == nil {
			t.Errorf("ParseBind(%q) = %v", text, b)
		}
	}
}

func FuzzParseBind(f *testing.F) {
	f.Add(`/a\:b:/c:ro`)
	f.Fuzz(func(t *testing.T, text string) {
		b, err := ParseBind(text)
		if err == nil && (!filepath.IsAbs(b.Source) || !strings.HasPrefix(b.Target, "/")) {
			t.Errorf("accepted %q as %v", text, b)
		}
	})
}

func TestParseProperty(t *testing.T) {
	for text, want := range map[string][]string{
		"cmdline=/sbin/init -v":    {"/sbin/init", "-v"},
		`cmdline=["/bin/x","a b"]`: {"/bin/x", "a b"},
		"note=two words":           {"two words"},
		"note=":                    nil,
		"note=[x]":                 {"[x]"},
		"env=A=1 B=2":              {"A=1", "B=2"},
		"hostname=nas":             {"nas"},
		"x.y-z=a=b":                {"a=b"},
	} {
		_, words, err := parseProperty(text)
		if err != nil || !slices.Equal(words, want) {
			t.Errorf("parseProperty(%q) = %q, %v; want %q", text, words, err, want)
		}
	}
	for _, text := range []string{"", "x", "=x", "X=1", "id=1", "state=ready", "cwd=tmp", "env=A", "cmdline=[1]", "hostname=-x", "a b=c", "note=a\x00b"} {
		if key, words, err := parseProperty(text); err == nil {
			t.Errorf("parseProperty(%q) = %q %q", text, key, words)
		}
	}
}

func FuzzParseProperty(f *testing.F) {
	f.Add("cmdline=[\"a\"]")
	f.Fuzz(func(t *testing.T, text string) {
		key, words, err := parseProperty(text)
		if err == nil && (!validKey.MatchString(key) || isShown(key) || strings.Contains(strings.Join(words, ""), "\x00")) {
			t.Errorf("accepted %q as %q %q", text, key, words)
		}
	})
}

func TestHookPathsArePlainWhateverTheRoot(t *testing.T) {
	for _, state := range []string{"/var/lib/firmwared", "/a b", "/a:b,c\\d\n", "/" + strings.Repeat("long", 60), "/ä"} {
		at := newLayout(state, state+"/run")
		const id = "0123456789ab"
		for _, path := range []string{at.union(id), at.rw(id), at.workdir(id), at.unionState(id), at.lowerMount(id, id), at.lowerDir(id, id)} {
			if !hookPath.MatchString(path) || len(path) >= 200 {
				t.Errorf("root %q: hooks get %q", state, path)
			}
		}
	}
}

func TestNewNameAvoidsTheTaken(t *testing.T) {
	taken := map[string]bool{}
	for range 500 {
		name := newName(taken)
		if taken[name] {
			t.Fatalf("%s was taken", name)
		}
		taken[name] = true
	}
}
