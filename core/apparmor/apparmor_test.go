// SPDX-License-Identifier: Apache-2.0

package apparmor

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
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

// Whose a profile is: the link's target decides, not its text.
func TestOrphans(t *testing.T) {
	machineDir = t.TempDir()
	s, gone := Store{Dir: t.TempDir()}, Store{Dir: t.TempDir()}
	for _, name := range []string{"firmwared_k_1", "firmwared_k_2"} {
		if err := replace(s.record(name), nil); err != nil {
			t.Fatal(err)
		}
		if err := s.claim(name); err != nil || !s.claimed(name) || gone.claimed(name) {
			t.Fatalf("%v, claimed %v, by another %v", err, s.claimed(name), gone.claimed(name))
		}
	}
	if err := gone.claim("firmwared_k_3"); err != nil {
		t.Fatal(err)
	}
	list := "firmwared_k_1 (enforce)\n/usr/bin/man (enforce)\nfirmwared_k_3 (enforce)\nfirmwared_k_4 (complain)\nfirmwared_a/../b (enforce)\n"
	if have := orphans(list); !slices.Equal(have, []string{"firmwared_k_3", "firmwared_k_4"}) {
		t.Errorf("%q", have)
	}
	// The name of a state directory that was made anew in another place.
	if err := s.claim("firmwared_k_3"); err != nil || !s.claimed("firmwared_k_3") {
		t.Error(err)
	}
	if err := s.Remove("firmwared_k_2"); err != nil || s.claimed("firmwared_k_2") {
		t.Errorf("%v, link left: %v", err, s.claimed("firmwared_k_2"))
	}
}

// A program's name may look like the end of its name's field.
func TestDead(t *testing.T) {
	dir := t.TempDir()
	name := filepath.Join(dir, "a) Z (b")
	body, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, body, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(name, "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	if dead(pid) {
		t.Error("a living process counts as dead")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !dead(pid); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a zombie counts as living")
		}
	}
	_ = cmd.Wait()
	if !dead(pid) {
		t.Error("one that is gone counts as living")
	}
}

// The order to change at the next exec goes to AppArmor's own attribute, to the
// shared one on kernels before 5.8, and never to a file that is not procfs's.
func TestOpenAttr(t *testing.T) {
	const own, shared = "thread-self/attr/apparmor/exec", "thread-self/attr/exec"
	real := map[string]string{own: "/proc/self/comm", shared: "/proc/self/oom_score_adj"} // any two
	for name, c := range map[string]struct {
		links, files []string
		opens, fails string
	}{
		"both":                {links: []string{own, shared}, opens: own},
		"an old kernel":       {links: []string{shared}, opens: shared},
		"no AppArmor":         {fails: "this kernel has no AppArmor"},
		"own is bent":         {files: []string{own}, links: []string{shared}, fails: "its procfs is none"},
		"shared is bent":      {files: []string{shared}, fails: "its procfs is none"},
		"shared is not asked": {links: []string{own}, files: []string{shared}, opens: own},
	} {
		dir := t.TempDir()
		if err := os.MkdirAll(filepath.Join(dir, "thread-self/attr/apparmor"), 0o755); err != nil {
			t.Fatal(err)
		}
		for _, path := range c.links {
			if err := os.Symlink(real[path], filepath.Join(dir, path)); err != nil {
				t.Fatal(err)
			}
		}
		for _, path := range c.files {
			if err := os.WriteFile(filepath.Join(dir, path), nil, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		proc, err := os.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		fd, err := openAttr(int(proc.Fd()))
		proc.Close()
		if c.fails != "" {
			if err == nil || err.Error() != c.fails {
				t.Errorf("%s: %v, want %q", name, err, c.fails)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		have, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		unix.Close(fd)
		if err != nil || filepath.Base(have) != filepath.Base(real[c.opens]) {
			t.Errorf("%s: opened %s (%v), want %s", name, have, err, c.opens)
		}
	}
}
