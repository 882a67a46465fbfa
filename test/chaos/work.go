// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// commandLimit is far more than any command may take.
const commandLimit = 90 * time.Second

// slot is one instance that may exist. Who holds it works on it.
type slot struct {
	sync.Mutex
	name         string
	id           string            // "": there is none, as far as is known
	wrote        map[string]string // files that were seen in the rw layer: they must stay
	dropped      bool              // a drop was begun: it may be gone
	acknowledged int
	serial       int
}

// command runs the program as a victim; killed tells that it got no chance to
// say how it went.
func (r *run) command(args ...string) (stdout string, ok, killed bool) {
	var out, errs bytes.Buffer
	cmd := exec.Command(r.program, append([]string{"--root", r.root}, args...)...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	// A supervisor must not hold the pipes that Wait reads.
	cmd.WaitDelay = time.Second
	r.mu.Lock()
	err := cmd.Start()
	if err == nil {
		r.commands[cmd.Process.Pid] = cmd.Process
	}
	r.mu.Unlock()
	if err != nil {
		r.problem("cannot run the program: %v", err)
		return "", false, false
	}
	timer := time.AfterFunc(commandLimit, func() {
		r.problem("%v took more than %v", args, commandLimit)
		_ = cmd.Process.Kill()
	})
	err = cmd.Wait()
	timer.Stop()
	r.mu.Lock()
	delete(r.commands, cmd.Process.Pid)
	status, _ := cmd.ProcessState.Sys().(syscall.WaitStatus)
	killed = status.Signaled()
	outcome := map[bool]string{true: "ok", false: "failed"}[err == nil]
	if killed {
		outcome = "killed"
	}
	r.done[args[0]+" "+outcome]++
	r.mu.Unlock()
	if err != nil && !killed && os.Getenv("CHAOS_VERBOSE") != "" {
		fmt.Fprintf(os.Stderr, "%v: %s", args, errs.String())
	}
	return out.String(), err == nil, killed
}

// must runs a command that nobody kills.
func (r *run) must(args ...string) string {
	var errs bytes.Buffer
	cmd := exec.Command(r.program, append([]string{"--root", r.root}, args...)...)
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		r.problem("%v: %v: %s", args, err, strings.TrimSpace(errs.String()))
	}
	return string(out)
}

func (r *run) work(random *rand.Rand) {
	for !r.stopped() {
		if random.Intn(12) == 0 {
			r.firmware(random)
			continue
		}
		s := r.slots[random.Intn(len(r.slots))]
		if !s.TryLock() {
			continue
		}
		r.cycle(s, random)
		s.Unlock()
	}
}

// firmware adds or removes one of the directories. It may be refused: in use.
func (r *run) firmware(random *rand.Rand) {
	i := random.Intn(len(r.trees))
	name := fmt.Sprintf("e%d", i)
	switch random.Intn(3) {
	case 0:
		r.command("firmware", "remove", name)
	case 1:
		r.command("firmware", "unmount", name)
	default:
		r.command("firmware", "add", r.trees[i], "--name", name)
	}
}

// cycle does one thing to an instance and looks at what it wrote.
func (r *run) cycle(s *slot, random *rand.Rand) {
	r.look(s)
	if s.id == "" {
		fw := "f0"
		if random.Intn(3) == 0 {
			fw = fmt.Sprintf("e%d", random.Intn(len(r.trees)))
		}
		r.command("prepare", fw, "--name", s.name)
		return
	}
	switch random.Intn(9) {
	case 0:
		s.dropped = true
		r.command("drop", "--force", s.name)
	case 1:
		r.command("kill", s.name)
	case 2:
		r.command("restart", s.name)
	case 3, 4:
		r.command("remount", s.name)
	case 5:
		r.command("set", s.name, fmt.Sprintf("note=%d", random.Int()))
	default:
		r.write(s)
	}
	r.look(s)
}

// write has a new pid 1 write a file, and takes it as written once it is seen.
func (r *run) write(s *slot) {
	s.serial++
	name, text := fmt.Sprintf("w%d", s.serial), fmt.Sprintf("%s-%d\n", s.name, s.serial)
	script := fmt.Sprintf("echo %s >/.%s && mv /.%s /%s; exec /bin/sleep 1000", strings.TrimSpace(text), name, name, name)
	r.command("kill", s.name)
	if _, ok, _ := r.command("start", s.name, "--", "/bin/sh", "-c", script); !ok {
		return
	}
	for range 100 {
		if data, err := os.ReadFile(filepath.Join(r.rw(s), name)); err == nil && string(data) == text {
			s.wrote[name] = text
			s.acknowledged++
			return
		}
		if r.stopped() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (r *run) rw(s *slot) string { return filepath.Join(r.root, "workspaces", s.id, "rw") }

// look finds out whether the instance exists, and that what it wrote is there.
// `get` is not a victim here: its answer decides.
func (r *run) look(s *slot) {
	var errs bytes.Buffer
	cmd := exec.Command(r.program, "--root", r.root, "get", s.name, "id")
	cmd.Stderr = &errs
	out, err := cmd.Output()
	id := strings.TrimSpace(string(out))
	record, readErr := os.ReadFile(filepath.Join(r.root, "instances", id+".json"))
	if err != nil || readErr != nil || bytes.Contains(record, []byte(`"removing": true`)) {
		id = "" // half made or half dropped: the next command may take it away, or just has
	}
	if id != s.id {
		if s.id != "" && !s.dropped {
			r.problem("%s (%s) is gone, or another one (%q), and nobody dropped it: %v %s%s", s.name, s.id, id, err, errs.String(), record)
		}
		s.id, s.dropped, s.wrote = id, false, map[string]string{}
	}
	if s.dropped { // what a drop has begun the next command may finish
		return
	}
	for name, text := range s.wrote {
		if data, err := os.ReadFile(filepath.Join(r.rw(s), name)); err != nil || string(data) != text {
			r.problem("%s lost %s: %q, %v", s.name, name, data, err)
		}
	}
}
