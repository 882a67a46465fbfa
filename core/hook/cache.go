// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// cacheEntry is the file that keeps what a hook's describe printed. The text is kept, not what was read from it: a
// newer program may understand more of it. A missing, broken or foreign file only costs a call.
type cacheEntry struct {
	file string // "" keeps nothing
	key  cacheKey
}

// cacheKey is all that the text may depend on.
type cacheKey struct {
	API  string `json:"api"`
	Path string `json:"path"`
	Hook fileID `json:"hook"`
	Lib  fileID `json:"lib"` // lib.bash shapes the text for hooks that source it
}

type cacheFile struct {
	cacheKey
	Output string `json:"output"`
}

// settled is the age from which a file's times tell one state from the next: they move in steps of the kernel's
// clock tick, 10 ms at most. What is younger is not kept.
const settled = 20 * time.Millisecond

func (r *Runner) cacheEntry(h Hook) cacheEntry {
	if r.CacheDir == "" {
		return cacheEntry{}
	}
	e := cacheEntry{
		file: filepath.Join(r.CacheDir, h.Name+".json"),
		key:  cacheKey{API: API, Path: h.Path, Hook: h.file},
	}
	var st unix.Stat_t
	if unix.Stat(filepath.Join(r.Lib, "lib.bash"), &st) == nil {
		e.key.Lib = idOf(&st)
	}
	return e
}

func (e cacheEntry) load() ([]byte, bool) {
	if e.file == "" {
		return nil, false
	}
	data, err := os.ReadFile(e.file)
	if err != nil {
		return nil, false
	}
	var f cacheFile
	if json.Unmarshal(data, &f) != nil || f.cacheKey != e.key {
		return nil, false
	}
	return []byte(f.Output), true
}

// store replaces the file in one step, so that a reader never sees a part. Failing to is no error: the next call asks
// the hook again.
func (e cacheEntry) store(output []byte) {
	if e.file == "" {
		return
	}
	newest := max(e.key.Hook.Mtime, e.key.Hook.Ctime, e.key.Lib.Mtime, e.key.Lib.Ctime)
	if time.Since(time.Unix(0, newest)) < settled {
		return
	}
	data, err := json.Marshal(cacheFile{e.key, string(output)})
	if err != nil {
		return
	}
	dir, name := filepath.Split(e.file)
	tmp, err := os.CreateTemp(dir, "."+name+".*")
	if errors.Is(err, fs.ErrNotExist) && os.MkdirAll(dir, 0o755) == nil {
		tmp, err = os.CreateTemp(dir, "."+name+".*")
	}
	if err != nil {
		return
	}
	_, err = tmp.Write(data)
	if tmp.Close() != nil || err != nil || os.Rename(tmp.Name(), e.file) != nil {
		_ = os.Remove(tmp.Name())
	}
}
