// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
)

// leaf is the set of all processes of one call, or of one scope.
type leaf interface {
	signal(syscall.Signal) error
	kill(context.Context) error // to all, also those that are born meanwhile; does not wait for their end
	waitEmpty(context.Context) error
	empty() bool
	procs() []int
	remove() // what holds the set, if nobody is in it
}

// marks are the names of environment variables that mean nothing to a hook and by which its processes are known.
type marks struct {
	call  string // random: of this call
	scope string // the same in every call of a daemon's scope, or ""
}

func newMarks(c *Call) marks {
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand: it ends the program instead)
	m := marks{call: greasePrefix + strings.ToUpper(hex.EncodeToString(random[:]))}
	if c.Daemon {
		m.scope = scopeMark(c.Scope)
	}
	return m
}

func scopeMark(scope string) string {
	sum := sha256.Sum256([]byte(scope))
	return greasePrefix + strings.ToUpper(hex.EncodeToString(sum[:8]))
}

func (m marks) env() []string {
	env := []string{m.call + "=1"}
	if m.scope != "" {
		env = append(env, m.scope+"=1")
	}
	return env
}

// Names of leaves: a call's leaf tells its owner, a scope's leaf its scope. In a scope's leaf is one of each call.
const (
	callPrefix  = "call."
	scopePrefix = "scope."
)

func validScope(scope string) bool { return scope != "" && cgroup.ValidName(scopePrefix+scope) }

// owner names this process in the names of its leaves; a pid alone would be another's one day.
var owner = sync.OnceValue(func() string {
	start, _ := startTime(os.Getpid())
	return fmt.Sprintf("%d.%s", os.Getpid(), start)
})

// group is a leaf in the cgroup2 tree.
type group struct {
	*cgroup.Group
	scope *cgroup.Group // the scope's leaf around it, or nil
}

// newGroup makes a call's leaf, or returns nil where there can be none.
func (r *Runner) newGroup(c *Call, m marks) *group {
	if !r.grouped() {
		return nil
	}
	g := &group{}
	path := slices.Clone(r.Cgroup)
	if c.Daemon {
		path = append(path, scopePrefix+c.Scope)
		g.scope = cgroup.Open(path...)
	}
	made, err := cgroup.Make(append(path, callPrefix+owner()+"."+strings.TrimPrefix(m.call, greasePrefix))...)
	if err != nil {
		return nil
	}
	g.Group = made
	return g
}

func (r *Runner) grouped() bool {
	if len(r.Cgroup) == 0 || r.noGroups {
		return false
	}
	_, err := cgroup.Root()
	return err == nil
}

// open names a leaf that may exist.
func (r *Runner) open(name string) *group {
	return &group{Group: cgroup.Open(append(slices.Clone(r.Cgroup), name)...)}
}

func (g *group) signal(sig syscall.Signal) error     { return g.Signal(sig) }
func (g *group) kill(context.Context) error          { return g.Kill() }
func (g *group) waitEmpty(ctx context.Context) error { return g.WaitEmpty(ctx) }

func (g *group) empty() bool {
	populated, err := g.Populated()
	return err == nil && !populated
}

func (g *group) procs() []int {
	pids, _ := g.Procs()
	return pids
}

func (g *group) remove() {
	if !g.empty() {
		return
	}
	_ = g.Remove()
	if g.scope != nil {
		_ = unix.Rmdir(g.scope.Path()) // refused while another call's leaf is in it
	}
}
