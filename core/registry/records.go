// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"firmwared/core/smallfile"
	"firmwared/core/spread"
	"firmwared/core/word"
)

// Version is the schema version of the records written. A record with a higher
// one is refused: it is a newer program's.
const Version = 1

// Firmware is the record of a registered root file system.
type Firmware struct {
	Version int               `json:"version"`
	ID      string            `json:"id"`
	Name    string            `json:"name"`
	Path    string            `json:"path"` // as it is used: real path, or the copy in the state directory
	Image   bool              `json:"image"`
	Copied  bool              `json:"copied,omitempty"` // Path belongs to the program and goes with the record
	SHA256  string            `json:"sha256,omitempty"` // of an image
	Stat    *FileStat         `json:"stat,omitempty"`   // of an image, when SHA256 was computed
	Base    string            `json:"base,omitempty"`   // id
	Hook    string            `json:"hook"`
	Options map[string]string `json:"options,omitempty"`
	// URL: where it came from, without a password. Download: the sha256 of what was
	// fetched there, which was unpacked if it is not SHA256.
	URL      string `json:"url,omitempty"`
	Download string `json:"download,omitempty"`
	// Ephemeral: goes with its last instance. Removing: a removal is under way.
	Ephemeral bool      `json:"ephemeral,omitempty"`
	Removing  bool      `json:"removing,omitempty"`
	Created   time.Time `json:"created"`
}

// Instance is the record of an instance.
type Instance struct {
	Version    int                 `json:"version"`
	ID         string              `json:"id"`
	Name       string              `json:"name"`
	Firmware   string              `json:"firmware"` // id
	Union      string              `json:"union"`    // union hook
	Properties map[string][]string `json:"properties,omitempty"`
	Ephemeral  bool                `json:"ephemeral,omitempty"`
	Network    string              `json:"network,omitempty"` // IPv4 /30 that is its own until it is dropped
	// Removing: half made, or a drop is under way. Keep: that drop leaves the rw layer.
	Removing bool      `json:"removing,omitempty"`
	Keep     bool      `json:"keep,omitempty"`
	Created  time.Time `json:"created"`
}

// FileStat is what tells one state of a file from another without reading it.
// Times are in nanoseconds since the epoch.
type FileStat struct {
	Dev   uint64 `json:"dev"`
	Ino   uint64 `json:"ino"`
	Size  int64  `json:"size"`
	Mtime int64  `json:"mtime"`
	Ctime int64  `json:"ctime"`
}

func (f *Firmware) key() (id, name string) { return f.ID, f.Name }
func (i *Instance) key() (id, name string) { return i.ID, i.Name }
func (f *Firmware) schema() *int           { return &f.Version }
func (i *Instance) schema() *int           { return &i.Version }

func (f *Firmware) check() error {
	switch {
	case !filepath.IsAbs(f.Path) || f.Hook == "":
		return errors.New("it lacks a path or a hook")
	case f.Image && (f.SHA256 == "" || f.Stat == nil):
		return errors.New("it lacks the image's checksum or state")
	case f.Base != "" && !validID.MatchString(f.Base):
		return fmt.Errorf("its base %q is no id", f.Base)
	}
	return nil
}

func (i *Instance) check() error {
	if !validID.MatchString(i.Firmware) || i.Union == "" {
		return errors.New("it lacks a firmware or a union hook")
	}
	return nil
}

// record is a pointer to Firmware or Instance.
type record[T any] interface {
	*T
	key() (id, name string)
	schema() *int
	check() error // what else a usable record must have
}

// BrokenError names a record that cannot be used. The others can.
type BrokenError struct {
	Path string
	Err  error
}

func (e *BrokenError) Error() string {
	return fmt.Sprintf("broken record %s: %v (repair it, or move it away and run firmwared gc)", e.Path, e.Err)
}
func (e *BrokenError) Unwrap() error { return e.Err }

// NotFoundError says that no object has this name, id or prefix.
type NotFoundError struct{ Kind, Key string }

func (e *NotFoundError) Error() string {
	return fmt.Sprintf("no %s named %q (firmwared %slist shows them)", e.Kind, e.Key, listPrefix[e.Kind])
}

var listPrefix = map[string]string{"firmware": "firmware "}

// AmbiguousError says that a prefix fits more than one id.
type AmbiguousError struct {
	Kind, Key string
	Fits      []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%s %q is ambiguous: it fits %s", e.Kind, e.Key, strings.Join(e.Fits, ", "))
}

var validID = word.Form{First: "0-9a-f", Rest: "0-9a-f", Min: 12, Max: 12}

// Table is the records of one kind. The zero value is of no use; see Open.
type Table[T any, P record[T]] struct{ kind, dir string }

// Save writes a record durably.
func (t Table[T, P]) Save(r P) error {
	*r.schema() = Version
	id, _ := r.key()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("cannot encode %s %s: %w", t.kind, id, err)
	}
	return replace(t.path(id), append(data, '\n'), true)
}

// Delete removes a record durably; that it is gone already is no error.
func (t Table[T, P]) Delete(id string) error {
	if err := remove(t.path(id)); err != nil {
		return fmt.Errorf("cannot remove the record of %s %s: %w", t.kind, id, err)
	}
	return SyncDir(t.dir)
}

// Load reads the record with this id.
func (t Table[T, P]) Load(id string) (P, error) {
	data, err := t.read(id)
	if err != nil {
		return nil, err
	}
	r, err := decode[T, P](data, id)
	if err != nil {
		return nil, &BrokenError{t.path(id), err}
	}
	return r, nil
}

func (t Table[T, P]) read(id string) ([]byte, error) {
	data, err := smallfile.Read(t.path(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &NotFoundError{t.kind, id}
	}
	if err != nil {
		return nil, &BrokenError{t.path(id), err}
	}
	return data, nil
}

func decode[T any, P record[T]](data []byte, id string) (P, error) {
	r := P(new(T))
	if err := json.Unmarshal(data, r); err != nil {
		return nil, err
	}
	if v := *r.schema(); v < 1 || v > Version {
		return nil, fmt.Errorf("schema version %d is not known", v)
	}
	got, name := r.key()
	if got != id {
		return nil, fmt.Errorf("it says that its id is %q", got)
	}
	if err := CheckName(name); err != nil {
		return nil, err
	}
	return r, r.check()
}

// All reads every record, in the order of their names. Broken ones are named in
// the error beside the good ones.
func (t Table[T, P]) All() ([]P, error) {
	entries, err := os.ReadDir(t.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot list %s records: %w", t.kind, err)
	}
	ids := idsOf(entries)
	read := make([]P, len(ids))
	failed := make([]error, len(ids))
	spread.Over(len(ids), func(i int) { read[i], failed[i] = t.Load(ids[i]) })
	var all []P
	var broken []error
	for i, r := range read {
		var gone *NotFoundError
		switch err := failed[i]; {
		case errors.As(err, &gone): // dropped meanwhile
		case err != nil:
			broken = append(broken, err)
		default:
			all = append(all, r)
		}
	}
	sort.Slice(all, func(i, j int) bool {
		_, a := all[i].key()
		_, b := all[j].key()
		return a < b
	})
	return all, errors.Join(broken...)
}

// idsOf are those that a directory of records has a file of.
func idsOf(entries []os.DirEntry) (ids []string) {
	for _, entry := range entries {
		if id, isRecord := strings.CutSuffix(entry.Name(), ".json"); isRecord && validID.MatchString(id) {
			ids = append(ids, id)
		}
	}
	return ids
}

// Find returns the record with this name, id or unique prefix of an id, in this
// order of preference.
func (t Table[T, P]) Find(key string) (P, error) {
	if validID.MatchString(key) {
		if r, err := t.Load(key); !isNotFound(err) {
			return r, err
		}
	}
	if r := t.named(key); r != nil {
		return r, nil
	}
	all, broken := t.All()
	var fits []P
	for _, r := range all {
		id, name := r.key()
		if name == key {
			return r, nil
		}
		if key != "" && strings.HasPrefix(id, key) {
			fits = append(fits, r)
		}
	}
	switch len(fits) {
	case 1:
		return fits[0], nil
	case 0:
		return nil, errors.Join(&NotFoundError{t.kind, key}, broken)
	}
	e := &AmbiguousError{Kind: t.kind, Key: key}
	for _, r := range fits {
		id, name := r.key()
		e.Fits = append(e.Fits, fmt.Sprintf("%s (%s)", id, name))
	}
	return nil, e
}

// named finds a good record by its name and decodes none but those that hold it: a
// start of one among hundreds of instances would take twice as long otherwise.
func (t Table[T, P]) named(name string) P {
	entries, _ := os.ReadDir(t.dir)
	ids, quoted := idsOf(entries), []byte(strconv.Quote(name))
	var found atomic.Pointer[T]
	spread.Over(len(ids), func(i int) {
		if found.Load() != nil {
			return
		}
		data, err := t.read(ids[i])
		if err != nil || !bytes.Contains(data, quoted) {
			return
		}
		if r, err := decode[T, P](data, ids[i]); err == nil {
			if _, has := r.key(); has == name {
				found.Store((*T)(r))
			}
		}
	})
	return P(found.Load())
}

func isNotFound(err error) bool {
	var e *NotFoundError
	return errors.As(err, &e)
}

func (t Table[T, P]) path(id string) string { return filepath.Join(t.dir, id+".json") }

var validName = word.Form{First: "A-Za-z0-9", Rest: "A-Za-z0-9._-", Max: 63}

// CheckName says what is wrong with a name for a firmware or an instance. A
// name is a host name too, so 63 characters are the limit.
func CheckName(name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%q is not a name: use up to 63 letters, digits, '.', '_' and '-', the first a letter or digit", name)
	}
	return nil
}
