// SPDX-License-Identifier: Apache-2.0

package apparmor

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRender(t *testing.T) {
	who := Subject{ID: "0123456789ab", Root: "/var/lib/fw/union", Key: "cafe0123"}
	shared, err := Render("x", "# @{id} in a comment\nprofile @{profile} { file, }\n", who)
	if err != nil || !shared.Shared || !strings.HasPrefix(shared.Name, "firmwared_cafe0123_") {
		t.Errorf("%+v, %v", shared, err)
	}
	if !strings.Contains(shared.Text, "profile "+shared.Name+" {") {
		t.Errorf("text %q", shared.Text)
	}
	other, _ := Render("x", "profile @{profile} { capability, file, }\n", who)
	if other.Name == shared.Name {
		t.Error("two texts have one name")
	}
	for _, mark := range []string{"@{id}", "@{root}"} {
		own, err := Render("x", "profile @{profile} { deny /a/"+mark+" w, }", who)
		if err != nil || own.Shared || own.Name != "firmwared_0123456789ab" || strings.Contains(own.Text, "@{") {
			t.Errorf("%s: %+v, %v", mark, own, err)
		}
	}
	for _, text := range []string{"profile x { }", "# profile @{profile} {}\n"} {
		if _, err := Render("x", text, who); err == nil || !strings.Contains(err.Error(), "names no profile") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestFind(t *testing.T) {
	first, second := t.TempDir(), t.TempDir()
	write := func(dir, name, text string, mode os.FileMode) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	write(second, "firmware.profile", "stock", 0o644)
	dirs := []string{first, second}
	if _, text, err := Find(dirs, "firmware"); err != nil || text != "stock" {
		t.Errorf("%q, %v", text, err)
	}
	write(first, "firmware.profile", "site", 0o644)
	if path, text, err := Find(dirs, "firmware"); err != nil || text != "site" || path != first+"/firmware.profile" {
		t.Errorf("%q %q, %v", path, text, err)
	}
	write(first, "loose.profile", "", 0o666)
	for name, want := range map[string]string{"loose": "root's alone", "none": "no profile template", "../x": "is no name"} {
		if _, _, err := Find(dirs, name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := os.Chmod(first, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Find(dirs, "firmware"); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("a directory that all may write: %v", err)
	}
}

func TestFindMode(t *testing.T) {
	list := "a (complain)\nfirmwared_1 (enforce)\nfirmwared_12 (kill)\n/usr/bin/man (enforce)\nb (c) (enforce)\n"
	for name, want := range map[string]string{
		"a": "complain", "firmwared_1": "enforce", "firmwared_12": "kill", "firmwared": "", "b": "", "b (c)": "enforce",
	} {
		if have := findMode(list, name); have != want {
			t.Errorf("%s: %q, want %q", name, have, want)
		}
	}
}

// The store's part that needs no kernel: what is not on record is not ours.
func TestStoreRemovesOnlyItsOwn(t *testing.T) {
	s := Store{Dir: t.TempDir()}
	if err := s.Remove("somebody_elses"); err != nil {
		t.Error(err)
	}
	if err := replace(s.record("firmwared_x"), []byte("text")); err != nil {
		t.Fatal(err)
	}
	if names := s.Names(); len(names) != 1 || names[0] != "firmwared_x" {
		t.Errorf("%q", names)
	}
	if text, err := s.Text("firmwared_x"); err != nil || text != "text" {
		t.Errorf("%q, %v", text, err)
	}
}

func FuzzFindMode(f *testing.F) {
	f.Add("a (enforce)\n", "a")
	f.Fuzz(func(t *testing.T, list, name string) {
		if m := findMode(list, name); m != "" && !strings.Contains(list, name+" ("+m+")") {
			t.Errorf("%q in %q gives %q", name, list, m)
		}
	})
}
