// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"firmwared/core/hook"
)

func probeMine(k *kit, _ string) error {
	r := k.probe(k.sample)
	if r.is(hook.ExitMissing) == nil {
		return skipped("the probe says " + r.String())
	}
	if r.is(hook.ExitNotMine) == nil && len(k.spec.Options) > 0 {
		return skipped("the probe says no, but does not get the options either: this hook is for --hook only")
	}
	return r.done()
}

// probeNotMine offers what no hook but one of that very kind can take: an empty file, noise, text; a directory to a
// hook that cannot mount it. What cannot be read may be any failure.
func probeNotMine(k *kit, _ string) error {
	dir := filepath.Join(k.dir, "strange")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer func() { _ = errors.Join(k.tidy(), os.RemoveAll(dir)) }()
	noise := make([]byte, 256<<10)
	_, _ = rand.Read(noise)
	files := map[string][]byte{"an empty file": nil, "random bytes": noise, "a text": []byte("#!/bin/sh\necho hello\n")}
	for name, data := range files {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o644); err != nil {
			return err
		}
		if err := k.probe(path).is(hook.ExitNotMine); err != nil {
			return fmt.Errorf("%s, status 3 wanted: %w", name, err)
		}
	}
	if r := k.probe(dir); r.is(hook.ExitNotMine) != nil && !k.takes(dir) {
		return fmt.Errorf("a directory that it cannot mount, status 3 wanted: %v", r)
	}
	for _, path := range []string{filepath.Join(dir, "missing"), "/dev/null"} {
		if r := k.probe(path); r.done() == nil || r.late {
			return fmt.Errorf("%s, a failure wanted: %v", filepath.Base(path), r)
		}
	}
	return nil
}

// probeDirectory: the program does not ask a hook that announced what it would say.
func probeDirectory(k *kit, _ string) error {
	if k.d.Directory == "" {
		return skipped("describe does not say directory=all or none")
	}
	dir := filepath.Join(k.dir, "directory")
	err := os.Mkdir(dir, 0o755)
	if err == nil {
		err = writeFile(filepath.Join(dir, "file"), "content\n")
	}
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if k.d.Directory == hook.DirectoryAll {
		return k.probe(dir).done()
	}
	return k.probe(dir).is(hook.ExitNotMine)
}

// takes says whether the hook can mount a firmware.
func (k *kit) takes(path string) bool {
	o, err := k.object(hook.LayerLower)
	if err != nil {
		return false
	}
	o.vars[hook.VarFirmware] = path
	return o.mounted() == nil
}

// probePure asks about the sample and about what is not the hook's.
func probePure(k *kit, _ string) error {
	other := filepath.Join(k.dir, "other")
	if err := os.WriteFile(other, []byte("no firmware\n"), 0o644); err != nil {
		return err
	}
	defer os.Remove(other)
	before, err := snapshot(k.dir)
	if err != nil {
		return err
	}
	return k.watch(func() error {
		for _, path := range []string{k.sample, other} {
			r := k.probe(path, loudly)
			if len(r.stdout) > 0 {
				return fmt.Errorf("it prints %.60q on stdout", r.stdout)
			}
			if err := k.unchanged(before, r); err != nil {
				return err
			}
		}
		return nil
	})
}

func timeLimits(k *kit, _ string) error {
	if k.spec.Clause == "time-limits" { // there were no other calls
		for _, m := range must {
			if k.asks(m.action, m.layer) {
				if _, err := k.ask(m.action, m.layer); err != nil {
					return err
				}
			}
		}
	}
	if len(k.late) > 0 {
		return errors.New(k.late[0])
	}
	return nil
}
