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
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"firmwared/core/rename"
	"firmwared/core/smallfile"
)

var bootID = sync.OnceValue(func() string {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		// Without procfs nothing can be said to be of this boot.
		return "unknown"
	}
	return strings.TrimSpace(string(id))
})

// BootID is the kernel's id of this boot.
func BootID() string { return bootID() }

type runtimeFile struct {
	BootID string          `json:"boot_id"`
	Data   json.RawMessage `json:"data"`
}

// WriteRuntime replaces a run-time file atomically; it is not synced.
func WriteRuntime(path string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", path, err)
	}
	data, err = json.Marshal(runtimeFile{BootID(), data})
	if err != nil {
		return fmt.Errorf("cannot encode %s: %w", path, err)
	}
	return replace(path, data, false)
}

// ReadRuntime fills v from a run-time file and tells whether there was one of
// this boot. A file that cannot be decoded counts as none: everything in it can
// be found out again from the kernel.
func ReadRuntime(path string, v any) bool {
	data, err := smallfile.Read(path)
	if err != nil {
		return false
	}
	// As WriteRuntime writes it: v must not be filled from a file of another boot.
	data, ours := bytes.CutPrefix(data, []byte(`{"boot_id":`+strconv.Quote(BootID())+`,"data":`))
	if ours {
		data, ours = bytes.CutSuffix(data, []byte("}"))
	}
	return ours && json.Unmarshal(data, v) == nil
}

// replace puts data in path's place: readers see the old content or the new.
// With sync it returns only once the new content survives a power cut.
func replace(path string, data []byte, sync bool) (err error) {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "."+filepath.Base(path)+".tmp*")
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot write %s: %w", path, errors.Join(err, remove(tmp.Name())))
		}
	}()
	_, err = tmp.Write(data)
	if err == nil && sync {
		err = tmp.Sync()
	}
	if err = errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	if !sync {
		return rename.Over(unix.AT_FDCWD, tmp.Name(), path)
	}
	if err = os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return SyncDir(dir)
}

// SyncDir makes the names in a directory survive a power cut.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// remove deletes one file; that it is gone already is no error.
func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
