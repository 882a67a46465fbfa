// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"firmwared/core/cgroup"
)

// begin is how a script leaves a process that would act a second later, and goes on only once it is there.
// The process writes its pid to $DIR/NAME.
const begin = `
later() { # NAME, COMMAND...
	name=$1; shift
	"$@" sh -c 'trap "" TERM; echo $$ >'"$DIR/$name"'; sleep 1; : >'"$DIR"'/acted; sleep 100' &
	until [ -s "$DIR/$name" ]; do sleep 0.001; done
}
`

func stopScript(dir, rest string) string { return "DIR=" + dir + begin + rest }

// stoppers are hooks that do not come to an end, each in a nastier way.
var stoppers = map[string]string{
	"sleeps":                        `echo on it >&2; exec sleep 100`,
	"ignores TERM":                  `trap '' TERM; echo on it >&2; while :; do sleep 1; done`,
	"grandchild holds the pipes":    `echo on it >&2; later pid env; wait`,
	"grandchild in its own group":   `echo on it >&2; set -m 2>/dev/null; later pid env; wait`,
	"grandchild in its own session": `echo on it >&2; later pid setsid; wait`,
	"double fork, orphaned":         `echo on it >&2; (later pid setsid setsid); exec sleep 100`,
}

func TestTimeLimit(t *testing.T) {
	for name, script := range stoppers {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, r *Runner) {
				dir := t.TempDir()
				r.Timeout = limited(200 * time.Millisecond)
				start := time.Now()
				_, err := r.Run(t.Context(), mountCall(made(t, stopScript(dir, script))))
				var failed *Error
				if !errors.As(err, &failed) || !failed.TimedOut || failed.Exit != -1 || len(failed.Left) > 0 ||
					err.Error() != "test.hook: mount timed out after 200ms on firmware foo: on it" {
					t.Errorf("got %v", err)
				}
				if took := time.Since(start); took > 3*time.Second {
					t.Errorf("took %v", took)
				}
				checkGone(t, dir)
			})
		})
	}
}

// checkGone checks that the process that wrote its pid did not live to act.
func checkGone(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, "pid")); err == nil && alive(pidIn(t, filepath.Join(dir, "pid"))) {
		t.Error("a process of the call still lives")
	}
	if _, err := os.Stat(filepath.Join(dir, "acted")); err == nil {
		t.Error("a process of the call acted after its end")
	}
}

// TestTermComesFirst checks that a hook may tidy up at its limit.
func TestTermComesFirst(t *testing.T) {
	bothWays(t, func(t *testing.T, r *Runner) {
		r.grace = 5 * time.Second
		r.Timeout = limited(100 * time.Millisecond)
		start := time.Now()
		_, err := r.Run(t.Context(), mountCall(made(t, `trap 'echo tidied up >&2; exit 0' TERM; while :; do sleep 0.01; done`)))
		if err == nil || !strings.HasSuffix(err.Error(), "tidied up") {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestCancel(t *testing.T) {
	bothWays(t, func(t *testing.T, r *Runner) {
		dir := t.TempDir()
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("interrupted by the user")
		c := mountCall(made(t, stopScript(dir, `later pid setsid; echo ready; exec sleep 100`)))
		c.Line = func(string) { cancel(cause) }
		_, err := r.Run(ctx, c)
		var failed *Error
		if !errors.As(err, &failed) || !errors.Is(err, cause) || failed.TimedOut ||
			!strings.HasPrefix(err.Error(), "test.hook: mount was interrupted after ") {
			t.Errorf("got %v", err)
		}
		checkGone(t, dir)
	})
}

// TestLeftovers checks that a hook that has done its work leaves nobody behind, and that its success stands.
func TestLeftovers(t *testing.T) {
	for name, script := range map[string]string{
		"holds the pipes": `later pid env`, "session": `later pid setsid`, "orphan": `(later pid setsid setsid)`,
		"many": `for i in 1 2 3 4 5 6 7 8 9; do later $i setsid; done; later pid setsid`,
	} {
		t.Run(name, func(t *testing.T) {
			bothWays(t, func(t *testing.T, r *Runner) {
				dir := t.TempDir()
				start := time.Now()
				out, err := r.Run(t.Context(), mountCall(made(t, stopScript(dir, script+"; echo done"))))
				if err != nil || string(out) != "done\n" {
					t.Errorf("got %q, %v", out, err)
				}
				if took := time.Since(start); took > 900*time.Millisecond {
					t.Errorf("took %v", took)
				}
				checkGone(t, dir)
			})
		})
	}
}

// TestEmptiedEnvironment is what only a cgroup can hold.
func TestEmptiedEnvironment(t *testing.T) {
	r := testRunner(t)
	dir := t.TempDir()
	script := `(setsid env -i sh -c "echo \$\$ >` + dir + `/pid; exec sleep 100" &); until [ -s ` + dir + `/pid ]; do sleep 0.001; done`
	if _, err := r.Run(t.Context(), mountCall(made(t, script))); err != nil {
		t.Fatal(err)
	}
	checkGone(t, dir)
}

func daemonCall(t *testing.T, dir, script string) Call {
	c := mountCall(made(t, stopScript(dir, script)))
	c.Daemon, c.Scope = true, "lower-"+filepath.Base(filepath.Dir(dir))
	return c
}

func TestDaemonLivesUntilItsSweep(t *testing.T) {
	bothWays(t, func(t *testing.T, r *Runner) {
		dir := t.TempDir()
		// One that has gone to the background as it should, and one that still holds stderr.
		c := daemonCall(t, dir, `later pid setsid >/dev/null 2>&1; later pid2 setsid >/dev/null; echo done; echo said >&2`)
		var said []string
		r.Log = func(l Line) { said = append(said, l.Text) }
		out, err := r.Run(t.Context(), c)
		if err != nil || string(out) != "done\n" || strings.Join(said, "") != "said" {
			t.Fatalf("got %q, %q, %v", out, said, err)
		}
		pid, pid2 := pidIn(t, dir+"/pid"), pidIn(t, dir+"/pid2")
		if !alive(pid) || !alive(pid2) {
			t.Fatal("the daemon did not survive the call")
		}
		scopes, err := r.Scopes()
		if err != nil || !r.noGroups && (len(scopes) != 1 || scopes[0] != c.Scope) {
			t.Errorf("scopes %v, %v", scopes, err)
		}
		if err := r.Clean(); err != nil || !alive(pid) {
			t.Errorf("after Clean: alive %v, %v", alive(pid), err)
		}
		// Another call of the scope ends without it.
		second := c
		second.Hook = made(t, "exit 0")
		if _, err := r.Run(t.Context(), second); err != nil || !alive(pid) {
			t.Errorf("after a second call: alive %v, %v", alive(pid), err)
		}
		if err := r.Sweep("another"); err != nil || !alive(pid) {
			t.Errorf("after the sweep of another scope: alive %v, %v", alive(pid), err)
		}
		for range 2 {
			if err := r.Sweep(c.Scope); err != nil {
				t.Error(err)
			}
		}
		if alive(pid) || alive(pid2) {
			t.Error("the daemon survived the sweep")
		}
		if err := r.Sweep("a/b"); err == nil {
			t.Error("a bad scope was swept")
		}
	})
}

func TestDaemonEndsAtTimeLimit(t *testing.T) {
	bothWays(t, func(t *testing.T, r *Runner) {
		dir, first := t.TempDir(), t.TempDir()
		c := daemonCall(t, first, `later pid setsid >/dev/null 2>&1`)
		if _, err := r.Run(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		r.Timeout = limited(100 * time.Millisecond)
		stuck := c
		stuck.Hook = made(t, stopScript(dir, `later pid setsid; sleep 100`))
		var failed *Error
		if _, err := r.Run(t.Context(), stuck); !errors.As(err, &failed) || !failed.TimedOut {
			t.Errorf("got %v", err)
		}
		checkGone(t, dir)
		if !alive(pidIn(t, first+"/pid")) {
			t.Error("a call's end took an earlier call's daemon with it")
		}
		if err := r.Sweep(c.Scope); err != nil {
			t.Error(err)
		}
	})
}

// TestClean has a leaf of a caller that is dead, one of a caller that lives, and one that is not a leaf.
func TestClean(t *testing.T) {
	r := testRunner(t)
	dead := append([]string{}, r.Cgroup...)
	g, err := cgroup.Make(append(dead, callPrefix+"1.x.ABC")...) // no process has such a start time
	if err != nil {
		t.Fatal(err)
	}
	mine, err := cgroup.Make(append(dead, callPrefix+owner()+".DEF")...)
	if err != nil {
		t.Fatal(err)
	}
	odd, err := cgroup.Make(append(dead, "odd")...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = mine.Remove(), odd.Remove() }()
	dir, err := g.Dir()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	pid, err := syscall.ForkExec("/bin/sleep", []string{"sleep", "100"}, &syscall.ProcAttr{
		Sys: &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Clean(); err != nil {
		t.Error(err)
	}
	if status := wait4(pid); status.Signal() != syscall.SIGKILL {
		t.Errorf("status %v", status)
	}
	names, err := r.leaves()
	if err != nil || len(names) != 2 {
		t.Errorf("left: %v, %v", names, err)
	}
	r2 := &Runner{Cgroup: []string{"firmwared-test-absent"}}
	if err := r2.Clean(); err != nil {
		t.Error(err)
	}
}

func TestParseStat(t *testing.T) {
	line := "42 (a) b (c) S 1 42 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 98765 0 0"
	if got, ok := parseStat(line); !ok || got != (procStat{'S', 7, "98765"}) {
		t.Errorf("got %+v, %v", got, ok)
	}
	for _, bad := range []string{"", "42 (x)", "42 (x) S 1", "42 x S 1 42 7 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 98765"} {
		if got, ok := parseStat(bad); ok {
			t.Errorf("%q gave %+v", bad, got)
		}
	}
}

// immortal is a leaf whose processes do not go, as in uninterruptible sleep.
type immortal struct{ killed bool }

func (*immortal) signal(syscall.Signal) error     { return nil }
func (i *immortal) kill(context.Context) error    { i.killed = true; return nil }
func (*immortal) waitEmpty(context.Context) error { return context.DeadlineExceeded }
func (*immortal) empty() bool                     { return false }
func (*immortal) procs() []int                    { return []int{7, 8} }
func (*immortal) remove()                         {}

func TestUnkillableIsTold(t *testing.T) {
	i := &immortal{}
	left := end(i)
	if len(left) != 2 || !i.killed {
		t.Errorf("left %v, killed %v", left, i.killed)
	}
	err := &Error{Hook: "test", Action: ActionUnmount, Object: "instance bar", TimedOut: true, started: true, Exit: -1,
		Limit: 30 * time.Second, Left: left}
	if want := "test.hook: unmount timed out after 30s on instance bar; cannot end process 7 8"; err.Error() != want {
		t.Errorf("got %v", err)
	}
}
