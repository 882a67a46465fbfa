// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
	"firmwared/core/rwlayer"
)

func mountShows(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	r := o.mount()
	if r.is(hook.ExitMissing) == nil {
		return skipped(cannotMount + r.String())
	}
	if err := r.done(); err != nil {
		return err
	}
	if err := o.verify(); err != nil {
		return err
	}
	if layer == hook.LayerUnion {
		return o.merged()
	}
	return k.shown(o)
}

// shown compares a lower with a second one, and with the sample where a directory is to be shown as it is.
func (k *kit) shown(o *object) error {
	have, err := snapshot(o.point())
	if err != nil {
		return err
	}
	if len(have) < 2 {
		return errors.New("there is nothing in it (is the sample empty?)")
	}
	if info, err := os.Stat(k.sample); err == nil && info.IsDir() && (k.own || has(k.d.Formats, "directory")) {
		want, err := snapshot(o.firmware)
		if err == nil {
			err = differ(want, have)
		}
		if err != nil {
			return fmt.Errorf("compared with the directory: %w", err)
		}
	}
	second, err := k.object(o.layer)
	if err != nil {
		return err
	}
	if err := second.mounted(); err != nil {
		return fmt.Errorf("a second mount: %w", err)
	}
	other, err := snapshot(second.point())
	if err == nil {
		err = differ(have, other)
	}
	if err != nil {
		return fmt.Errorf("compared with a second mount: %w", err)
	}
	return nil
}

// content is what a file in a union, in its rw layer or in a lower's source holds, "" if it cannot be read.
func (o *object) content(name string) string {
	data, _ := os.ReadFile(o.at(name))
	return strings.TrimSpace(string(data))
}

// merged tries the union's view, copy-up and deletion. Writing is not tried on one that is read-only: that is
// another clause's business.
func (o *object) merged() error {
	for name, want := range map[string]string{
		"both": "top", "top": "top", "bottom": "bottom", "gone": "bottom", "dir/top": "top", "dir/bottom": "bottom",
	} {
		if have := o.content("union/" + name); have != want {
			return fmt.Errorf("file %s holds %q, not %q: the upper lower hides the lower one, directories are merged", name, have, want)
		}
	}
	if flags, err := o.flags(); err != nil || flags&unix.ST_RDONLY != 0 {
		return err
	}
	err := os.WriteFile(o.at("union/bottom"), []byte("mine\n"), 0o644)
	if err == nil {
		err = os.WriteFile(o.at("union/new"), []byte("mine\n"), 0o644)
	}
	if err == nil {
		err = os.Remove(o.at("union/gone"))
	}
	if err != nil {
		return fmt.Errorf("writing to it: %w", err)
	}
	_, gone := os.Lstat(o.at("union/gone"))
	switch {
	case o.content("union/bottom") != "mine" || o.content("union/new") != "mine":
		return errors.New("what is written to it does not show in it")
	case gone == nil:
		return errors.New("what is deleted in it still shows")
	case o.content("bottom.source/bottom") != "bottom" || o.content("bottom.source/gone") != "bottom":
		return errors.New("what is written to it changes the lower")
	case o.content("rw/bottom") != "mine" || o.content("rw/new") != "mine":
		return errors.New("what is written to it does not land in " + hook.VarRW)
	}
	return nil
}

func mountReadOnly(k *kit, layer string) error {
	o, err := k.object(layer)
	if err == nil {
		err = o.mounted()
	}
	if err != nil {
		return err
	}
	if layer == hook.LayerUnion {
		return rwlayer.Verify(o.point(), o.at("rw"))
	}
	flags, err := o.flags()
	if err != nil {
		return err
	}
	if flags&unix.ST_RDONLY == 0 {
		return errors.New("it is not mounted read-only")
	}
	if os.WriteFile(filepath.Join(o.point(), ".new"), nil, 0o644) == nil {
		return errors.New("a file can be made in it")
	}
	return nil
}

// flags are those of the mount.
func (o *object) flags() (int64, error) {
	var fs unix.Statfs_t
	err := unix.Statfs(o.point(), &fs)
	return fs.Flags, err
}

func mountNodev(k *kit, layer string) error {
	return k.flagged(layer, unix.ST_NODEV, true, "it is mounted without nodev")
}

func mountSetuid(k *kit, layer string) error {
	return k.flagged(layer, unix.ST_NOSUID, false, "it is mounted with nosuid")
}

func (k *kit) flagged(layer string, flag int64, set bool, complaint string) error {
	o, err := k.object(layer)
	if err == nil {
		err = o.mounted()
	}
	if err != nil {
		return err
	}
	flags, err := o.flags()
	if err == nil && (flags&flag != 0) != set {
		err = errors.New(complaint)
	}
	return err
}

// oddNames have something in them that some program on the way takes for its own.
var oddNames = []string{
	"with space", " lead", "qu'ote", `double"quote`, "co:lon", "com,ma", `back\slash`, `end\`, "new\nline", "end\n",
	"$(touch x)", "`id`", "*", "-dash", "--", "per%cent", "tab\t", "ü", "LABEL=x",
}

func oddPaths(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	probed := k.probe(k.sample)
	for _, name := range oddNames {
		path := filepath.Join(o.at("firmware"), name)
		if err := os.Rename(o.vars[hook.VarFirmware], path); err != nil {
			return err
		}
		o.vars[hook.VarFirmware] = path
		if err := o.again(); err != nil {
			return err
		}
		err := k.probe(path).is(probed.exit)
		if err == nil {
			err = o.mounted()
		}
		if err == nil {
			err = o.unmounted()
		}
		if err != nil {
			return fmt.Errorf("%s=.../%q: %w", hook.VarFirmware, name, err)
		}
	}
	return nil
}

func mountAgain(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	for range 2 {
		err = o.again()
		if err == nil {
			err = o.mounted()
		}
		if err == nil {
			err = o.unmounted()
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func stdoutClean(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	actions := []string{hook.ActionMount, hook.ActionUnmount, hook.ActionUnmount}
	if k.asks(hook.ActionRemount, layer) && layer == hook.LayerUnion {
		actions = []string{hook.ActionMount, hook.ActionRemount, hook.ActionUnmount, hook.ActionUnmount}
	}
	for _, action := range actions {
		if r := o.call(action, loudly); len(r.stdout) > 0 {
			return fmt.Errorf("%s prints %.60q", r.what, r.stdout)
		}
	}
	return nil
}

// outsideUntouched compares the object's places before a mount and after its unmount, and the watched directories.
// The content of a work directory is the file system's own.
func outsideUntouched(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	skip := []string{o.at("state"), o.point()}
	if layer == hook.LayerUnion {
		skip = append(skip, o.at("work"))
	}
	before, err := snapshot(o.dir, skip...)
	if err != nil {
		return err
	}
	return k.watch(func() error {
		if err := o.mount().done(); err != nil {
			return err
		}
		during, err := snapshot(o.dir, skip...)
		if err == nil {
			err = differ(before, during)
		}
		if err != nil {
			return fmt.Errorf("after mount: %w", err)
		}
		r := o.unmount()
		after, err := snapshot(o.dir, skip...)
		if err == nil {
			err = differ(before, after)
		}
		if err != nil {
			return fmt.Errorf("after unmount: %w", err)
		}
		for _, dir := range skip {
			if _, err := os.Lstat(dir); err != nil {
				return fmt.Errorf("after unmount: %s is gone", k.plain(dir))
			}
		}
		if left, _ := os.ReadDir(o.point()); r.done() == nil && len(left) > 0 {
			return fmt.Errorf("after unmount: %s holds %s", k.plain(o.point()), left[0].Name())
		}
		return nil
	})
}

func noProcessLeft(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	r := o.mount()
	if len(r.left) > 0 && !k.d.Daemon {
		return fmt.Errorf("after mount, without daemon=yes: %s", strings.Join(r.left, ", "))
	}
	if r = o.unmount(); len(r.left) > 0 {
		return fmt.Errorf("after unmount: %s", strings.Join(r.left, ", "))
	}
	return nil
}

// atOnce mounts four objects at the same time.
func atOnce(k *kit, layer string) error {
	var all [4]*object
	for i := range all {
		o, err := k.object(layer)
		if err != nil {
			return err
		}
		all[i] = o
	}
	if err := together(all[:], (*object).mounted); err != nil {
		return err
	}
	for _, o := range all {
		if layer == hook.LayerLower {
			break
		}
		if err := o.merged(); err != nil {
			return fmt.Errorf("at once: %w", err)
		}
	}
	return together(all[:], (*object).unmounted)
}

// together does something to all of them at once.
func together(all []*object, do func(*object) error) error {
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, o := range all {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = do(o)
		}()
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("one of four at once: %w", err)
		}
	}
	return nil
}
