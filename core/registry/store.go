// SPDX-License-Identifier: Apache-2.0

package registry

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
)

// Store is a root's records, run-time files and locks.
type Store struct {
	State, Run string // directories
	Firmwares  Table[Firmware, *Firmware]
	Instances  Table[Instance, *Instance]
}

// Open names the places; it touches nothing.
func Open(state, run string) *Store {
	return &Store{
		State:     state,
		Run:       run,
		Firmwares: Table[Firmware, *Firmware]{"firmware", filepath.Join(state, "firmwares")},
		Instances: Table[Instance, *Instance]{"instance", filepath.Join(state, "instances")},
	}
}

// Init makes the directories. The state directory is closed to everybody but
// root: a firmware may hold set-user-ID programs.
func (s *Store) Init() error {
	for _, dir := range []string{s.State, s.Run} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make directory %s: %w", dir, err)
		}
	}
	for _, dir := range []string{s.Firmwares.dir, s.Instances.dir, s.path("locks"), s.path("pending")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("cannot make directory %s: %w", dir, err)
		}
	}
	return nil
}

func (s *Store) path(elem ...string) string {
	return filepath.Join(append([]string{s.Run}, elem...)...)
}

// NewID is a random id for an instance.
func NewID() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand documents it
	return hex.EncodeToString(b[:])
}
