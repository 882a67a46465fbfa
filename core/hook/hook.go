// SPDX-License-Identifier: Apache-2.0

// Package hook finds, describes and runs hooks: executables that do file-system work outside the program, told what
// to do by FIRMWARED_* environment variables.
//
// It holds the program's side of the hook contract: where hooks come from and which of them are trusted (Dirs), the
// one table of variables (Variables), and a bounded, confined call (Runner.Run). It does not know what a hook is for:
// it neither checks a mount afterwards nor undoes one, and takes no locks on firmwares or instances.
//
// A Runner and a Dirs are safe for concurrent use, also by several processes; nothing here waits for another call.
//
// Failure promise: whatever a hook does, Run comes back within the call's limit plus a fixed time, and no process of
// the call is left then, unless the hook announced a daemon or a process cannot be killed, which is said. If the
// program itself is killed, the hook goes on (half a mount is worse than a late one) and Clean ends it later.
package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/word"
)

// Suffix ends the file name of every hook.
const Suffix = ".hook"

// generic is the hook that takes what no other wants: it is asked last.
const generic = "mount"

var namePattern = word.Form{First: "a-z0-9", Rest: "a-z0-9_-"}

// ValidName says whether name can name a hook.
func ValidName(name string) bool { return len(name) <= 200 && namePattern.MatchString(name) }

// Hook is a hook file that was found trustworthy.
type Hook struct {
	Name string
	Path string // in its hook directory; may be a symbolic link
	file fileID // of the link's target
}

// fileID tells one state of a file from another.
type fileID struct {
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime_ns"`
	Ctime int64  `json:"ctime_ns"`
}

func idOf(st *unix.Stat_t) fileID {
	return fileID{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}
}

// Dirs are the hook directories, in the order in which a name is looked up. One that does not exist is empty.
type Dirs []string

// NotFoundError tells where a hook was looked for, or what hides it.
type NotFoundError struct {
	Name   string
	Tried  []string // paths, in order
	Masked string   // the link to /dev/null that disables the name, or ""
}

func (e *NotFoundError) Error() string {
	switch {
	case e.Masked != "":
		return fmt.Sprintf("cannot find hook %q: it is masked by %s", e.Name, e.Masked)
	case len(e.Tried) == 0:
		return fmt.Sprintf("cannot find hook %q: no hook directory is configured", e.Name)
	}
	return fmt.Sprintf("cannot find hook %q: tried %s", e.Name, strings.Join(e.Tried, ", "))
}

// Find returns the first hook of that name. The first file of the name decides, even when it is refused: a hook that
// lost its trust is never replaced silently by another one.
func (d Dirs) Find(name string) (Hook, error) {
	if !ValidName(name) {
		return Hook{}, fmt.Errorf("cannot find hook %q: not a hook name (lower-case letters, digits, _ and -)", name)
	}
	missing := &NotFoundError{Name: name}
	for _, dir := range d {
		path := filepath.Join(dir, name+Suffix)
		missing.Tried = append(missing.Tried, path)
		h, err := load(name, path)
		if errors.Is(err, errMasked) {
			missing.Masked = path
			return Hook{}, missing
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return h, err
		}
	}
	return Hook{}, missing
}

// File returns the hook at a path that need not be in a hook directory; the same rules of trust hold.
func File(path string) (Hook, error) {
	h, err := loadNamed(strings.TrimSuffix(filepath.Base(path), Suffix), path)
	switch {
	case errors.Is(err, errMasked):
		return h, fmt.Errorf("cannot use hook %s: it leads to /dev/null", path)
	case errors.Is(err, fs.ErrNotExist):
		return h, fmt.Errorf("cannot use hook %s: there is no such file", path)
	}
	return h, err
}

// loadNamed is load for a name that nobody has checked.
func loadNamed(name, path string) (Hook, error) {
	if !ValidName(name) {
		return Hook{}, &TrustError{path, "has a bad name (lower-case letters, digits, _ and - are allowed)"}
	}
	return load(name, path)
}

// Entry is a name in the hook directories. Exactly one of Hook.Path, Err and Masked is set.
type Entry struct {
	Name   string
	Path   string // the file that decides
	Hook   Hook
	Err    error    // why it is refused
	Masked bool     // Path leads to /dev/null
	Hides  []string // files of the same name in later directories
}

// All returns every name in the directories, in name order, and the directories that cannot be read.
func (d Dirs) All() ([]Entry, []error) {
	var problems []error
	byName := map[string]*Entry{}
	for _, dir := range d {
		files, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("cannot read hook directory: %w", err))
		}
		for _, file := range files {
			name, ok := strings.CutSuffix(file.Name(), Suffix)
			if !ok {
				continue
			}
			path := filepath.Join(dir, file.Name())
			if first := byName[name]; first != nil {
				first.Hides = append(first.Hides, path)
				continue
			}
			h, err := loadNamed(name, path)
			if errors.Is(err, fs.ErrNotExist) {
				continue // gone since the directory was read
			}
			e := &Entry{Name: name, Path: path, Hook: h, Err: err, Masked: errors.Is(err, errMasked)}
			if e.Masked {
				e.Err = nil
			}
			byName[name] = e
		}
	}
	var entries []Entry
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		entries = append(entries, *byName[name])
	}
	return entries, problems
}

// List returns all usable hooks in name order. A hook or directory with a problem is an error of its own and hides
// nothing but itself and the same name in later directories.
func (d Dirs) List() ([]Hook, []error) {
	var hooks []Hook
	entries, problems := d.All()
	for _, e := range entries {
		switch {
		case e.Err != nil:
			problems = append(problems, e.Err)
		case !e.Masked:
			hooks = append(hooks, e.Hook)
		}
	}
	return hooks, problems
}

// ProbeOrder returns the hooks in the order in which they are asked whether a source is theirs: by name, the generic
// one last.
func ProbeOrder(hooks []Hook) []Hook {
	sorted := slices.Clone(hooks)
	slices.SortFunc(sorted, func(a, b Hook) int {
		if (a.Name == generic) != (b.Name == generic) {
			if a.Name == generic {
				return 1
			}
			return -1
		}
		return strings.Compare(a.Name, b.Name)
	})
	return sorted
}
