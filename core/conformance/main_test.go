// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"firmwared/core/cgroup"
	"firmwared/core/mount"
)

// TestMain lets this binary be the kit's child.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == Arg {
		Main()
	}
	os.Exit(m.Run())
}

// tested runs the kit and checks that it leaves nothing behind.
func tested(t *testing.T, ctx context.Context, spec Spec) (map[string]Verdict, error) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("must be root")
	}
	before, err := mount.Points("/proc/self")
	if err != nil {
		t.Fatal(err)
	}
	spec.Lib = t.TempDir()
	verdicts := map[string]Verdict{}
	err = Test(ctx, spec, func(v Verdict) { verdicts[v.Clause] = v })
	after, tableErr := mount.Points("/proc/self")
	if tableErr != nil {
		t.Fatal(tableErr)
	}
	for point := range after {
		if strings.HasPrefix(point, place) && after[point] > before[point] && strings.Contains(point, "hook-test") {
			t.Errorf("%s is left mounted", point)
		}
	}
	return verdicts, err
}

// made writes a hook: the reference one with lines put in front.
func made(t *testing.T, lines string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "made.hook")
	text := strings.Replace(string(reference), "#!/bin/sh\n", "#!/bin/sh\n"+lines+"\n", 1)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReferenceHookKeepsTheContract(t *testing.T) {
	verdicts, err := tested(t, t.Context(), Spec{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range Clauses() {
		want := OK
		other := slices.Equal(c.Layers, fetching) || slices.Equal(c.Layers, verifying)
		if other || c.Name == "foreign-device" || c.Name == "unmount-keeps-going" { // it keeps no record
			want = Skip
		}
		if v := verdicts[c.Name]; v.Result != want {
			t.Errorf("%v, %s wanted", v, want)
		}
	}
}

// TestBrokenHooks has one of each group of clauses; test/conformance has them all.
func TestBrokenHooks(t *testing.T) {
	const action = `case $FIRMWARED_ACTION/$FIRMWARED_LAYER in `
	for name, test := range map[string]struct {
		lines string
		want  Result
	}{
		"describe-pure":     {action + `describe/) mount -t tmpfs x /mnt ;; esac`, Fail},
		"describe-shape":    {action + `describe/) echo hello ;; esac`, Fail},
		"unknown-action":    {`[ "$FIRMWARED_ACTION" != frobnicate ] || exit 1`, Fail},
		"probe-not-mine":    {action + `probe/) exit 0 ;; esac`, Fail},
		"mount-nodev":       {action + `mount/lower) exec mount --bind -o ro "$FIRMWARED_FIRMWARE" "$FIRMWARED_RO" ;; esac`, Warn},
		"odd-paths":         {action + `mount/lower) exec mount --bind -o ro $FIRMWARED_FIRMWARE "$FIRMWARED_RO" ;; esac`, Fail},
		"unmount-busy":      {action + `unmount/lower) umount -l "$FIRMWARED_RO"; exit 0 ;; esac`, Fail},
		"no-process-left":   {action + `mount/union) sleep 1000 >/dev/null 2>&1 & ;; esac`, Fail},
		"mount-read-only":   {action + `mount/lower) exec mount --bind "$FIRMWARED_FIRMWARE" "$FIRMWARED_RO" ;; esac`, Fail},
		"requires-words":    {action + `describe/) printf '%s\n' api=1 layers=union 'requires=mount(8)'; exit ;; esac`, Warn},
		"remount-refreshes": {action + `remount/union) exit 0 ;; esac`, Fail},
	} {
		t.Run(name, func(t *testing.T) {
			verdicts, err := tested(t, t.Context(), Spec{Hook: made(t, test.lines), Clause: name})
			if v := verdicts[name]; err != nil || v.Result != test.want || v.Why == "" || len(verdicts) != 1 {
				t.Errorf("%v, %v; %s wanted", verdicts, err, test.want)
			}
		})
	}
}

// TestMountThatCannotWork: what needs one is skipped, with the hook's own reason.
func TestMountThatCannotWork(t *testing.T) {
	verdicts, err := tested(t, t.Context(), Spec{Clause: "mount-again",
		Hook: made(t, `[ "$FIRMWARED_ACTION" != mount ] || { echo "missing here: fs:nosuch" >&2; exit 4; }`)})
	v := verdicts["mount-again"]
	if err != nil || v.Result != Skip || !strings.Contains(v.Why, "fs:nosuch") {
		t.Errorf("%v, %v", v, err)
	}
	if text, failed := Sum([]Verdict{v}); failed || !strings.Contains(text, "fs:nosuch") {
		t.Errorf("Sum = %q, %v", text, failed)
	}
}

func TestSampleIsNeeded(t *testing.T) {
	_, err := tested(t, t.Context(), Spec{Clause: "probe-mine", Hook: made(t, `[ "$FIRMWARED_ACTION" != probe ] || exit 3`)})
	var usage *UsageError
	if !errors.As(err, &usage) || !strings.Contains(usage.Text, "SAMPLE") {
		t.Errorf("%v", err)
	}
	if err := Test(t.Context(), Spec{Clause: "nosuch"}, nil); !errors.As(err, &usage) || !strings.Contains(usage.Text, "unmount-busy") {
		t.Errorf("%v", err)
	}
}

// TestSampleIsNotTouched uses a hook that destroys what it gets.
func TestSampleIsNotTouched(t *testing.T) {
	sample := filepath.Join(t.TempDir(), "sample")
	if err := makeTree(sample); err != nil {
		t.Fatal(err)
	}
	before, err := snapshot(sample)
	if err != nil {
		t.Fatal(err)
	}
	verdicts, err := tested(t, t.Context(), Spec{Clause: "outside-untouched", Sample: sample,
		Hook: made(t, `[ "$FIRMWARED_ACTION" != unmount ] || [ -z "$FIRMWARED_FIRMWARE" ] || rm "$FIRMWARED_FIRMWARE/etc/firmware"`)})
	if v := verdicts["outside-untouched"]; err != nil || v.Result != Fail || !strings.Contains(v.Why, "etc/firmware") {
		t.Errorf("%v, %v", v, err)
	}
	after, err := snapshot(sample)
	if err == nil {
		err = differ(before, after)
	}
	if err != nil {
		t.Error(err)
	}
}

// TestInterrupted ends a run while the hook hangs in a mount.
func TestInterrupted(t *testing.T) {
	dir, err := os.MkdirTemp("/dev/shm", "hook-test") // what the hook writes in /tmp would not be seen here
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	mark := filepath.Join(dir, "mark")
	path := made(t, `[ "$FIRMWARED_ACTION" != mount ] || { echo $$ >`+mark+`; sleep 1000; }`)
	ctx, cancel := context.WithCancelCause(t.Context())
	go func() {
		eventually(20*time.Second, func() bool { _, err := os.Stat(mark); return err == nil })
		cancel(errors.New("enough"))
	}()
	start := time.Now()
	_, err = tested(t, ctx, Spec{Hook: path, Clause: "mount-again"})
	if err == nil || !strings.Contains(err.Error(), "enough") || time.Since(start) > 15*time.Second {
		t.Errorf("%v after %v", err, time.Since(start))
	}
	pid, err := os.ReadFile(mark)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat("/proc/" + strings.TrimSpace(string(pid))); err == nil {
		t.Errorf("process %s of the hook is left", pid)
	}
}

// TestSweep takes away what a killed child leaves outside of its namespace.
func TestSweep(t *testing.T) {
	token := "hook-test.sweep" + filepath.Base(t.TempDir())
	group, err := cgroup.Make(append(groups(token), "hooks", "scope.x")...)
	if err != nil {
		t.Fatal(err)
	}
	if err := sweep(token); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Dir(filepath.Dir(group.Path()))); err == nil {
		t.Error("its cgroup is left")
	}
}
