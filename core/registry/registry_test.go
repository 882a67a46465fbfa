// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func open(t *testing.T) *Store {
	t.Helper()
	dir := t.TempDir()
	s := Open(filepath.Join(dir, "state"), filepath.Join(dir, "run"))
	if err := s.Init(); err != nil {
		t.Fatal(err)
	}
	return s
}

func save(t *testing.T, s *Store, id, name string) {
	t.Helper()
	if err := s.Instances.Save(&Instance{ID: id, Name: name, Firmware: "0123456789ab", Union: "mount"}); err != nil {
		t.Fatal(err)
	}
}

func TestFind(t *testing.T) {
	s := open(t)
	save(t, s, "aaaaaaaaaaa1", "box")
	save(t, s, "aaaaaaaaaaa2", "aaa")
	save(t, s, "bbbbbbbbbbb1", "beef")
	for key, want := range map[string]string{"box": "aaaaaaaaaaa1", "aaa": "aaaaaaaaaaa2", "b": "bbbbbbbbbbb1", "aaaaaaaaaaa1": "aaaaaaaaaaa1"} {
		got, err := s.Instances.Find(key)
		if err != nil || got.ID != want {
			t.Errorf("Find(%q) = %v, %v; want %s", key, got, err, want)
		}
	}
	var ambiguous *AmbiguousError
	if _, err := s.Instances.Find("aa"); !errors.As(err, &ambiguous) || len(ambiguous.Fits) != 2 {
		t.Errorf("ambiguous prefix: %v", err)
	}
	var missing *NotFoundError
	for _, key := range []string{"", "c", "../instances/aaaaaaaaaaa1", "aaaaaaaaaaa3"} {
		if _, err := s.Instances.Find(key); !errors.As(err, &missing) {
			t.Errorf("Find(%q): %v", key, err)
		}
	}
}

// As many as are read by several goroutines.
func TestFindAmongMany(t *testing.T) {
	s := open(t)
	const count = 100
	for i := range count {
		save(t, s, fmt.Sprintf("%012x", i), fmt.Sprintf("box%d", count-i))
	}
	for i := range count {
		name := fmt.Sprintf("box%d", count-i)
		if got, err := s.Instances.Find(name); err != nil || got.Name != name || got.ID != fmt.Sprintf("%012x", i) {
			t.Errorf("Find(%q) = %v, %v", name, got, err)
		}
	}
	var missing *NotFoundError
	if _, err := s.Instances.Find("box"); !errors.As(err, &missing) {
		t.Errorf("Find of none: %v", err)
	}
	all, err := s.Instances.All()
	if err != nil || len(all) != count || !slices.IsSortedFunc(all, func(a, b *Instance) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("%d of %d, sorted by name? %v", len(all), count, err)
	}
}

func TestBrokenRecordsAreNamedBesideTheGood(t *testing.T) {
	s := open(t)
	save(t, s, "aaaaaaaaaaa1", "good")
	for id, content := range map[string]string{
		"bbbbbbbbbbb1": "{", "bbbbbbbbbbb2": `{"version":99,"id":"bbbbbbbbbbb2","name":"x"}`,
		"bbbbbbbbbbb5": `{"version":1,"id":"bbbbbbbbbbb5","name":"x"}`,
		"bbbbbbbbbbb3": `{"version":1,"id":"aaaaaaaaaaa1","name":"x"}`, "bbbbbbbbbbb4": `{"version":1,"id":"bbbbbbbbbbb4","name":"../x"}`,
	} {
		if err := os.WriteFile(s.Instances.path(id), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	all, err := s.Instances.All()
	if len(all) != 1 || all[0].Name != "good" {
		t.Errorf("good records: %v", all)
	}
	for _, id := range []string{"bbbbbbbbbbb1", "bbbbbbbbbbb2", "bbbbbbbbbbb3", "bbbbbbbbbbb4", "bbbbbbbbbbb5"} {
		if err == nil || !strings.Contains(err.Error(), id) {
			t.Errorf("%s is not named in %v", id, err)
		}
	}
	if got, err := s.Instances.Find("good"); err != nil || got.Name != "good" {
		t.Errorf("a broken neighbour hides a good record: %v", err)
	}
}

func TestRuntimeFilesEndWithTheBoot(t *testing.T) {
	s := open(t)
	path := filepath.Join(s.Run, "x.json")
	if err := WriteRuntime(path, 7); err != nil {
		t.Fatal(err)
	}
	var n int
	if !ReadRuntime(path, &n) || n != 7 {
		t.Errorf("read back %d", n)
	}
	data, _ := json.Marshal(map[string]any{"boot_id": "another", "data": 8})
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	if ReadRuntime(path, &n) {
		t.Error("a file of another boot was believed")
	}
	if err := os.WriteFile(path, []byte("rubbish"), 0o600); err != nil {
		t.Fatal(err)
	}
	if ReadRuntime(path, &n) {
		t.Error("rubbish was believed")
	}
}

func TestReplaceLeavesNothingBehind(t *testing.T) {
	s := open(t)
	path := filepath.Join(s.Run, "sub", "x.json")
	if err := WriteRuntime(path, 1); err == nil {
		t.Error("wrote into a missing directory")
	}
	// A directory cannot be replaced by a file: the temporary file must go.
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteRuntime(path, 1); err == nil {
		t.Error("replaced a directory")
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestLocks(t *testing.T) {
	s := open(t)
	ctx := context.Background()
	a, err := s.Lock(ctx, "i-1", Shared)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.TryLock("i-1", Shared)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.TryLock("i-1", Exclusive); !errors.Is(err, ErrLocked) {
		t.Errorf("an exclusive lock beside shared ones: %v", err)
	}
	a.Unlock()
	b.Unlock()
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	c, err := s.Lock(ctx, "i-1", Exclusive)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Lock(short, "i-1", Shared); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting does not end with its context: %v", err)
	}
	// A lock on a file that its holder removed is a lock on nothing: the one
	// who waits must get a new file's.
	got := make(chan *Lock)
	go func() {
		d, _ := s.Lock(ctx, "i-1", Exclusive)
		got <- d
	}()
	c.Remove()
	d := <-got
	if _, err := s.TryLock("i-1", Exclusive); !errors.Is(err, ErrLocked) {
		t.Error("two exclusive locks at once")
	}
	d.Unlock()
}

func TestMarksOfTheDead(t *testing.T) {
	s := open(t)
	alive, err := s.Begin("instance.aaaaaaaaaaa1")
	if err != nil {
		t.Fatal(err)
	}
	gone, err := s.Begin("firmware.bbbbbbbbbbb1")
	if err != nil {
		t.Fatal(err)
	}
	gone.Abandon() // as its maker's death would
	for range 2 {  // it changes nothing
		living, ended := s.Pending()
		if len(living) != 1 || living[0] != "instance.aaaaaaaaaaa1" || len(ended) != 1 || ended[0] != "firmware.bbbbbbbbbbb1" {
			t.Errorf("pending: living %q, dead %q", living, ended)
		}
	}
	dead := s.Dead()
	if len(dead) != 1 || dead[0].Object != "firmware.bbbbbbbbbbb1" {
		t.Fatalf("dead marks: %v", dead)
	}
	if again := s.Dead(); len(again) != 0 {
		t.Error("two commands got the same mark")
	}
	dead[0].End()
	alive.End()
	if entries, _ := os.ReadDir(s.path("pending")); len(entries) != 0 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestMarked(t *testing.T) {
	s := open(t)
	var marks []*Mark
	for range 3 {
		m, err := s.Begin("instance.aaaaaaaaaaa1")
		if err != nil {
			t.Fatal(err)
		}
		marks = append(marks, m)
	}
	marks[0].Abandon()
	marks[1].Abandon()
	if !s.Marked("instance.aaaaaaaaaaa1", nil) || s.Marked("instance.aaaaaaaaaaa", nil) {
		t.Error("a living mark is not seen, or another's is")
	}
	dead := s.Dead()
	if len(dead) != 1 || len(dead[0].locks) != 2 {
		t.Fatalf("marks on one object are not one: %v", dead)
	}
	if !s.Marked("instance.aaaaaaaaaaa1", dead[0]) {
		t.Error("the living mark beside the caller's own is not seen")
	}
	marks[2].End()
	if s.Marked("instance.aaaaaaaaaaa1", dead[0]) {
		t.Error("the caller's own mark counts as another's")
	}
	if dead[0].Abandon(); s.Marked("instance.aaaaaaaaaaa1", nil) {
		t.Error("a dead mark counts as living")
	}
}

func TestLockedMakesNoFile(t *testing.T) {
	s := open(t)
	if s.Locked("i-1") || len(s.LockNames()) != 0 {
		t.Errorf("asking for a lock made one: %v", s.LockNames())
	}
	lock, err := s.TryLock("i-1", Shared)
	if err != nil {
		t.Fatal(err)
	}
	if s.Locked("i-1") {
		t.Error("a lock that is shared counts as taken")
	}
	lock.Unlock()
	if lock, err = s.TryLock("i-1", Exclusive); err != nil {
		t.Fatal(err)
	}
	defer lock.Unlock()
	if !s.Locked("i-1") {
		t.Error("a lock that is held is not seen")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"version":1,"id":"aaaaaaaaaaa1","name":"x","properties":{"cmdline":["a"]}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decode[Instance](data, "aaaaaaaaaaa1")
		if err == nil && (r.ID != "aaaaaaaaaaa1" || CheckName(r.Name) != nil) {
			t.Errorf("accepted %+v", r)
		}
	})
}

func FuzzCheckName(f *testing.F) {
	for _, name := range []string{"a", "-a", "a/b", "a b", "", "..", "a\n"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if CheckName(name) == nil && (strings.ContainsAny(name, "/ \n\t\\:,'\"") || strings.HasPrefix(name, "-") || strings.HasPrefix(name, ".") || len(name) > 63) {
			t.Errorf("accepted %q", name)
		}
	})
}
