// SPDX-License-Identifier: Apache-2.0

package core

import (
	"crypto/sha256"
	"encoding/hex"
	"path/filepath"
	"strings"

	"firmwared/core/word"
)

// shortRoots is where state directories appear whose own path no mount option
// could carry.
const shortRoots = "/run/firmwared/roots"

// hookPath is what the hook contract promises of every path it hands out, and
// maxBase leaves room in its 200 bytes, and in the 255 of one mount option's
// value, for the rest of a path and for a second lower.
var hookPath = word.Form{First: "/", Rest: "A-Za-z0-9/._-"}

const maxBase = 64

// layout names every place of a root. Files are reached below state and run;
// mounts are made, and told to hooks, below base: the same directory, under a
// path that is short and plain.
type layout struct {
	state, run string
	base       string // state as hooks see it
	runBase    string // run as hooks see it
	key        string // tells this root from others in names outside it
}

func newLayout(state, run string) layout {
	sum := sha256.Sum256([]byte(state))
	l := layout{state: state, run: run, base: state, runBase: run, key: hex.EncodeToString(sum[:4])}
	if !hookPath.MatchString(state) || len(state) > maxBase {
		l.base = filepath.Join(shortRoots, l.key)
	}
	if below, ok := strings.CutPrefix(run, state+"/"); ok {
		l.runBase = filepath.Join(l.base, below)
	}
	return l
}

func (l layout) workspace(id string) string { return filepath.Join(l.base, "workspaces", id) }
func (l layout) rw(id string) string        { return filepath.Join(l.workspace(id), "rw") }
func (l layout) workdir(id string) string   { return filepath.Join(l.workspace(id), "workdir") }
func (l layout) union(id string) string     { return filepath.Join(l.workspace(id), "union") }
func (l layout) log(id string) string       { return filepath.Join(l.state, "workspaces", id, "console.log") }
func (l layout) kept(id string) string      { return filepath.Join(l.state, "kept", id) }

// skeleton is a directory with the mount points of /dev, /proc and /sys. It lies
// below the lowers of a firmware that lacks one of them, so that neither the
// firmware nor the rw layer has to get it.
func (l layout) skeleton() string { return filepath.Join(l.base, "skeleton") }

// runtime is an instance's directory of run-time files.
func (l layout) runtime(id string) string { return filepath.Join(l.runBase, "instances", id) }

func (l layout) unionFile(id string) string  { return filepath.Join(l.runtime(id), "union.json") }
func (l layout) unionState(id string) string { return filepath.Join(l.runtime(id), "state") }

// lowerDir holds a lower's run-time file, its hook's state and its users.
func (l layout) lowerDir(firmware, generation string) string {
	return filepath.Join(l.runBase, "lowers", firmware+"."+generation)
}

// lowerMount is the mount point of a lower.
func (l layout) lowerMount(firmware, generation string) string {
	return filepath.Join(l.base, "lowers", firmware, generation, "ro")
}
