// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
)

// TestExactEnvironment compares all that a hook is given with what the contract says, and one name more.
func TestExactEnvironment(t *testing.T) {
	bothWays(t, func(t *testing.T, r *Runner) {
		t.Setenv("FIRMWARED_ROOT", "/evil")
		t.Setenv("BASH_ENV", "/evil")
		r.Verbose = true
		r.Timeout = limited(1500 * time.Millisecond)
		out, err := r.Run(t.Context(), mountCall(made(t, `tr '\0' '\n' </proc/$$/environ`)))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Split(strings.TrimSpace(string(out)), "\n")
		grease := got[len(got)-1]
		if name, _, ok := strings.Cut(grease, "=1"); !ok || !strings.HasPrefix(name, greasePrefix) || len(name) != len(greasePrefix)+16 {
			t.Errorf("the last variable is %s", grease)
		}
		want := []string{
			"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
			"LC_ALL=C.UTF-8",
			"FIRMWARED_API=1",
			"FIRMWARED_ACTION=mount",
			"FIRMWARED_LAYER=lower",
			"FIRMWARED_FIRMWARE=/home/dev/my firmware/final",
			"FIRMWARED_RO=/var/lib/firmwared/lowers/0123456789ab/1/ro",
			"FIRMWARED_ID=0123456789ab",
			"FIRMWARED_NAME=foo",
			"FIRMWARED_STATE=/run/firmwared/lowers/0123456789ab.1/state",
			"FIRMWARED_LABEL=firmwared_0123456789ab",
			"FIRMWARED_VERBOSE=y",
			"FIRMWARED_TIMEOUT=2",
			"FIRMWARED_LIB=/usr/libexec/firmwared/hooks",
		}
		if !slices.Equal(got[:len(got)-1], want) {
			t.Errorf("got %q", got)
		}
	})
}

// TestSurroundings checks all that a hook inherits besides variables.
func TestSurroundings(t *testing.T) {
	// One descriptor that is not close-on-exec, as some library might leave it.
	fd, err := unix.Open("/etc/passwd", unix.O_RDONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	bothWays(t, func(t *testing.T, r *Runner) {
		h := made(t, `echo "args $# $0"
pwd
cut -d' ' -f6 /proc/$$/stat; echo $$
readlink /proc/$$/fd/0
ls /proc/self/fd | tr '\n' ' '; echo
sed -n s/^0::/cgroup:/p /proc/$$/cgroup`)
		out, err := r.Run(t.Context(), mountCall(h))
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		if len(lines) != 7 {
			t.Fatalf("got %q", lines)
		}
		// ls itself opens 3.
		if lines[0] != "args 0 "+h.Path || lines[1] != "/" || lines[2] != lines[3] || lines[4] != "/dev/null" || lines[5] != "0 1 2 3 " {
			t.Errorf("got %q", lines)
		}
		if inLeaf := strings.HasPrefix(lines[6], "cgroup:/"+r.Cgroup[0]+"/hooks/"+callPrefix); inLeaf == r.noGroups {
			t.Errorf("cgroup %q", lines[6])
		}
	})
}

func TestExitStatus(t *testing.T) {
	r := testRunner(t)
	for script, want := range map[string]string{
		"exit 1":                                    "test.hook: mount failed on firmware foo: exit status 1 and no message",
		"echo no such thing >&2; exit 1":            "test.hook: mount failed on firmware foo: no such thing",
		"echo FIRMWARED_RO >&2; exit 2":             "test.hook: mount failed on firmware foo: bad environment: FIRMWARED_RO",
		"exit 3":                                    "test.hook: mount failed on firmware foo: not supported",
		"echo veritysetup >&2; exit 4":              "test.hook: mount failed on firmware foo: something it needs is missing: veritysetup",
		"echo target is busy >&2; exit 5":           "test.hook: mount failed on firmware foo: busy: target is busy",
		"exit 77":                                   "test.hook: mount failed on firmware foo: exit status 77",
		"kill -SEGV $$":                             "test.hook: mount failed on firmware foo: killed by SIGSEGV",
		"printf 'a\\n\\nb\\nc\\n \\nd' >&2; exit 1": "test.hook: mount failed on firmware foo: b; c; d",
	} {
		out, err := r.Run(t.Context(), mountCall(made(t, "echo partial; "+script)))
		var failed *Error
		if !errors.As(err, &failed) || err.Error() != want || string(out) != "partial\n" {
			t.Errorf("%s:\n got %v (%q)\nwant %s", script, err, out, want)
			continue
		}
		if failed.NotMine() != (failed.Exit == 3) || failed.MissingTool() != (failed.Exit == 4) || failed.Busy() != (failed.Exit == 5) {
			t.Errorf("%s: %+v", script, failed)
		}
		if (failed.Signal == syscall.SIGSEGV) != (failed.Exit == -1) {
			t.Errorf("%s: %+v", script, failed)
		}
	}
}

func TestCannotStart(t *testing.T) {
	r := testRunner(t)
	for head, want := range map[string]string{
		"echo\n":             "does not begin with #!",
		"#!/nonexistent\n":   "interpreter does not exist",
		"#!/etc/passwd\n":    "is not executable",
		"\x7fELF nonsense\n": "does not begin with #!",
	} {
		h := made(t, "")
		if err := os.WriteFile(h.Path, []byte(head), 0o755); err != nil {
			t.Fatal(err)
		}
		_, err := r.Run(t.Context(), mountCall(h))
		var failed *Error
		if !errors.As(err, &failed) || failed.Exit != -1 || !strings.Contains(err.Error(), want) ||
			!strings.HasPrefix(err.Error(), "test.hook: mount could not be started on firmware foo: "+h.Path) {
			t.Errorf("%q gave %v", head, err)
		}
	}
}

func TestBadCall(t *testing.T) {
	r := testRunner(t)
	h, _, calls := counting(t, "")
	c := mountCall(h)
	delete(c.Vars, VarRO)
	var problem *EnvError
	if _, err := r.Run(t.Context(), c); !errors.As(err, &problem) || problem.Missing[0] != VarRO {
		t.Errorf("got %v", err)
	}
	for _, scope := range []string{"", "a/b", ".\n"} {
		c = mountCall(h)
		c.Daemon, c.Scope = true, scope
		if _, err := r.Run(t.Context(), c); err == nil {
			t.Errorf("scope %q was taken", scope)
		}
	}
	if calls() != 0 {
		t.Error("the hook was called")
	}
}

// TestFileBusy covers both ends of ETXTBSY: one that passes and one that does not.
func TestFileBusy(t *testing.T) {
	r := testRunner(t)
	h := made(t, "echo ran")
	f, err := os.OpenFile(h.Path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := r.Run(t.Context(), mountCall(h)); !errors.Is(err, unix.ETXTBSY) {
		t.Errorf("got %v", err)
	}
	time.AfterFunc(10*time.Millisecond, func() { _ = f.Close() })
	if out, err := r.Run(t.Context(), mountCall(h)); err != nil || string(out) != "ran\n" {
		t.Errorf("got %q, %v", out, err)
	}
}

func TestStdoutIsBounded(t *testing.T) {
	r := testRunner(t)
	out, err := r.Run(t.Context(), mountCall(made(t, "head -c 65536 /dev/zero")))
	if err != nil || len(out) != 65536 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	out, err = r.Run(t.Context(), mountCall(made(t, "yes | head -c 20000000; echo end >&2")))
	var failed *Error
	if !errors.As(err, &failed) || !failed.Flood || !strings.Contains(err.Error(), "more than 64 KiB on stdout: end") || len(out) > maxStdout {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func TestStdoutByLine(t *testing.T) {
	r := testRunner(t)
	c := mountCall(made(t, `yes 0123456789 | head -n 20000; printf 'a\033b\nlast'`))
	var n int
	var last []string
	c.Line = func(line string) { n++; last = []string{append([]string{""}, last...)[len(last)], line} }
	out, err := r.Run(t.Context(), c)
	if err != nil || len(out) != 0 || n != 20002 || last[1] != "last" {
		t.Errorf("%d lines, the last %q, %q, %v", n, last, out, err)
	}
}

// TestStderrFlood feeds 100 MB in lines and 100 MB in one line: neither may block the hook nor be kept.
func TestStderrFlood(t *testing.T) {
	for name, script := range map[string]string{
		"lines":    "yes 'a line of some length, as a tool would print it' | head -c 100000000 >&2",
		"one line": "head -c 100000000 /dev/zero >&2",
	} {
		t.Run(name, func(t *testing.T) {
			r := testRunner(t)
			var logged int
			r.Log = func(Line) { logged++ }
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			_, err := r.Run(t.Context(), mountCall(made(t, script+"; echo the end >&2; exit 1")))
			runtime.ReadMemStats(&after)
			var failed *Error
			if !errors.As(err, &failed) || len(failed.Stderr) > maxTail || len(err.Error()) > 1000 {
				t.Fatalf("%.2000v", err)
			}
			if last := failed.Stderr[len(failed.Stderr)-1]; name == "lines" && !strings.HasSuffix(last, "the end") {
				t.Errorf("the last line is %q", last)
			}
			if logged > maxLogged+3 {
				t.Errorf("%d lines were logged", logged)
			}
			if grown := int64(after.TotalAlloc - before.TotalAlloc); grown > 4<<20 {
				t.Errorf("%d bytes were allocated", grown)
			}
		})
	}
}

func TestRubbishIsEscaped(t *testing.T) {
	r := testRunner(t)
	var logged []string
	r.Log = func(l Line) { logged = append(logged, l.String()) }
	_, err := r.Run(t.Context(), mountCall(made(t, `printf 'a\033[2Jb\000c\377d\303\244\302\233\te\r\n' >&2; head -c 5000 /dev/urandom >&2; exit 1`)))
	var failed *Error
	if !errors.As(err, &failed) {
		t.Fatal(err)
	}
	if len(logged) < 3 || !strings.HasSuffix(logged[1], `: a\x1b[2Jb\x00c\xffdä\u{9b} e`) {
		t.Errorf("logged %q", logged)
	}
	for _, text := range append(logged, err.Error()) {
		if escape(text) != text {
			t.Errorf("not printable: %q", text)
		}
	}
}

func TestLog(t *testing.T) {
	r := testRunner(t)
	var lines []Line
	r.Log = func(l Line) { lines = append(lines, l) }
	if _, err := r.Run(t.Context(), mountCall(made(t, "echo one >&2; echo two >&2"))); err != nil {
		t.Fatal(err)
	}
	if len(lines) != 4 || lines[0].Kind != LineStart || lines[1].Text != "one" || lines[3].Kind != LineResult || lines[3].Took <= 0 {
		t.Fatalf("got %+v", lines)
	}
	for i, want := range []string{"test.hook: mount lower (firmware foo)", "test.hook: mount lower (firmware foo): one",
		"test.hook: mount lower (firmware foo): two", "test.hook: mount lower (firmware foo): done in "} {
		if got := lines[i].String(); !strings.HasPrefix(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	lines = nil
	_, err := r.Run(t.Context(), Call{Hook: made(t, "exit 3"), Action: ActionProbe, Vars: map[string]string{VarFirmware: "/x"}})
	if len(lines) != 2 || !errors.Is(lines[1].Err, err) || !strings.Contains(lines[1].String(), "test.hook: probe: exit status 3 after ") {
		t.Errorf("got %v", lines)
	}
}

// TestTwoAtOnce has two calls each of which needs the other to be running.
func TestTwoAtOnce(t *testing.T) {
	bothWays(t, func(t *testing.T, r *Runner) {
		dir := t.TempDir()
		h := made(t, fmt.Sprintf(`mine=%s/$FIRMWARED_NAME; : >"$mine"
until [ -e %s/a ] && [ -e %s/b ]; do sleep 0.01; done; echo "$FIRMWARED_NAME"`, dir, dir, dir))
		var calls sync.WaitGroup
		for _, name := range []string{"a", "b"} {
			calls.Add(1)
			go func() {
				defer calls.Done()
				c := mountCall(h)
				c.Vars[VarName] = name
				if out, err := r.Run(t.Context(), c); err != nil || string(out) != name+"\n" {
					t.Errorf("%s: %q, %v", name, out, err)
				}
			}()
		}
		calls.Wait()
	})
}

func TestContextOverBefore(t *testing.T) {
	r := testRunner(t)
	h, _, calls := counting(t, "")
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("the user has had enough")
	cancel(cause)
	if _, err := r.Run(ctx, mountCall(h)); !errors.Is(err, cause) || calls() != 0 {
		t.Errorf("%d calls, %v", calls(), err)
	}
}

// TestLeafIsGone looks at the tree itself: no leaf may outlive its call, even if the hook made groups in it.
func TestLeafIsGone(t *testing.T) {
	r := testRunner(t)
	root, err := cgroup.Root()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.Run(t.Context(), mountCall(made(t, `leaf=$(sed -n s/^0:://p /proc/$$/cgroup)
mkdir "`+root+`$leaf/deeper"
sleep 100 >/dev/null 2>&1 & echo $! >"`+root+`$leaf/deeper/cgroup.procs"
echo "$leaf"`)))
	if err != nil {
		t.Fatal(err)
	}
	leaf := strings.TrimSpace(string(out))
	names, err := r.leaves()
	if err != nil || !strings.HasPrefix(filepath.Base(leaf), callPrefix) || len(names) > 0 {
		t.Errorf("the call was in %s; now there are %v, %v", leaf, names, err)
	}
}

func BenchmarkRun(b *testing.B) {
	h := made(b, "")
	if err := os.Remove(h.Path); err != nil {
		b.Fatal(err)
	}
	if err := os.Symlink("/bin/true", h.Path); err != nil {
		b.Fatal(err)
	}
	b.Run("bare fork and exec", func(b *testing.B) {
		for b.Loop() {
			p, err := os.StartProcess(h.Path, []string{h.Path}, &os.ProcAttr{})
			if err != nil {
				b.Fatal(err)
			}
			_, _ = p.Wait()
		}
	})
	for name, noGroups := range map[string]bool{"cgroup": false, "session": true} {
		b.Run(name, func(b *testing.B) {
			r := testRunner(b)
			r.noGroups = noGroups
			for b.Loop() {
				if _, err := r.Run(b.Context(), mountCall(h)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
