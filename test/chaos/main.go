// SPDX-License-Identifier: Apache-2.0

// Command chaos runs life cycles on a root of its own while it kills the
// program's processes at random, and then audits what is left. It is run by
// test/chaos.bats, as root, and is not installed.
//
// Nothing is killed but processes of this run: commands that it started itself,
// and processes found in the cgroups of the root, whose name holds the root's key.
package main

import (
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// run is what workers and killer share.
type run struct {
	program, root, image string
	trees                []string // directories to be added as firmwares
	slots                []*slot
	stop                 chan struct{} // closed when there were kills enough

	mu       sync.Mutex
	commands map[int]*os.Process // those of the workers that are not reaped
	problems []string
	done     map[string]int // commands by name and outcome
	kills    map[string]int // by kind of victim
}

func main() {
	r := &run{stop: make(chan struct{}), commands: map[int]*os.Process{}, done: map[string]int{}, kills: map[string]int{}}
	kills := flag.Int("kills", 100, "how many processes to kill")
	seed := flag.Int64("seed", 0, "of the random numbers; 0: from the clock")
	workers := flag.Int("workers", 6, "commands at once")
	instances := flag.Int("instances", 20, "how many there are at most")
	limit := flag.Duration("limit", 10*time.Minute, "how long it may take")
	flag.StringVar(&r.program, "program", "", "the firmwared to run")
	flag.StringVar(&r.root, "root", "", "its --root")
	flag.StringVar(&r.image, "image", "", "a firmware image with a shell")
	trees := flag.String("trees", "", "firmware directories with a shell, separated by commas")
	flag.Parse()
	if r.program == "" || r.root == "" || r.image == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	if r.trees = strings.Split(*trees, ","); *seed == 0 {
		*seed = time.Now().UnixNano()
	}
	fmt.Printf("seed %d\n", *seed)
	for i := range *instances {
		r.slots = append(r.slots, &slot{name: fmt.Sprintf("n%d", i), wrote: map[string]string{}})
	}
	began := time.Now()
	r.must("firmware", "add", r.image, "--name", "f0")
	var wg sync.WaitGroup
	for i := range *workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			r.work(rand.New(rand.NewSource(*seed + int64(i))))
		}()
	}
	total := r.kill(rand.New(rand.NewSource(*seed-1)), *kills, began.Add(*limit))
	close(r.stop)
	wg.Wait()
	if total < *kills {
		r.problem("only %d of %d kills in %v", total, *kills, *limit)
	}
	r.audit()
	r.report(time.Since(began))
}

func (r *run) report(took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	wrote := 0
	for _, s := range r.slots {
		wrote += s.acknowledged
	}
	fmt.Printf("kills %v\ncommands %v\nfiles acknowledged %d\ntook %.1f s\n", r.kills, r.done, wrote, took.Seconds())
	if wrote == 0 {
		r.problems = append(r.problems, "no file was ever acknowledged: that shows nothing")
	}
	for _, p := range r.problems {
		fmt.Println("PROBLEM " + p)
	}
	if len(r.problems) > 0 {
		os.Exit(1)
	}
}

func (r *run) problem(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

func (r *run) stopped() bool {
	select {
	case <-r.stop:
		return true
	default:
		return false
	}
}

// group is the cgroup of all processes of the root.
func (r *run) group() string {
	sum := sha256.Sum256([]byte(r.root))
	key := hex.EncodeToString(sum[:4])
	for _, base := range []string{"/sys/fs/cgroup/unified", "/sys/fs/cgroup"} {
		if dir := filepath.Join(base, "firmwared", key); exists(dir) {
			return dir
		}
	}
	return ""
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}
