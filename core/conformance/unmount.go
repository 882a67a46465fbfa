// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"firmwared/core/hook"
	"firmwared/core/mount"
)

// mountedObject makes an object and mounts it.
func (k *kit) mountedObject(layer string) (*object, error) {
	o, err := k.object(layer)
	if err == nil {
		err = o.mounted()
	}
	return o, err
}

func unmountFrees(k *kit, layer string) error {
	o, err := k.mountedObject(layer)
	if err == nil {
		err = o.unmounted()
	}
	if err == nil {
		err = o.free()
	}
	return err
}

func unmountRepeats(k *kit, layer string) error {
	o, err := k.mountedObject(layer)
	if err != nil {
		return err
	}
	for i := range 3 {
		if err := o.unmounted(); err != nil {
			return fmt.Errorf("unmount number %d: %w", i+1, err)
		}
	}
	return nil
}

// unmountNeverMounted tries a free mount point: with an empty FIRMWARED_STATE, with none, and with the records that the
// hook itself keeps, empty.
func unmountNeverMounted(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	if err := o.unmounted(); err != nil {
		return fmt.Errorf("with an empty %s: %w", hook.VarState, err)
	}
	if err := mount.RemoveAll(o.at("state")); err != nil {
		return err
	}
	if err := o.unmounted(); err != nil {
		return fmt.Errorf("without the directory %s: %w", hook.VarState, err)
	}
	if k.ready(Clause{Mounts: true}, layer) != nil {
		return nil
	}
	names, err := k.recordNames(layer)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := writeFile(filepath.Join(o.at("state"), name), ""); err != nil {
			return err
		}
	}
	if err := o.unmounted(); err != nil {
		return fmt.Errorf("with empty records in %s: %w", hook.VarState, err)
	}
	return nil
}

// recordNames are those of the files that the hook keeps while something is mounted.
func (k *kit) recordNames(layer string) ([]string, error) {
	o, err := k.mountedObject(layer)
	if err != nil {
		return nil, err
	}
	return o.records()
}

func (o *object) records() ([]string, error) {
	entries, err := os.ReadDir(o.at("state"))
	var names []string
	for _, entry := range entries {
		if entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

// unmountFirmwareGone renames the firmware under its mount, then removes it.
func unmountFirmwareGone(k *kit, layer string) error {
	for _, way := range []struct {
		what string
		do   func(path string) error
	}{
		{"renamed", func(path string) error { return os.Rename(path, filepath.Join(filepath.Dir(path), "renamed")) }},
		{"removed", mount.RemoveAll},
	} {
		o, err := k.mountedObject(layer)
		if err != nil {
			return err
		}
		if err := way.do(o.firmware); err != nil {
			return err
		}
		err = o.unmounted()
		if err == nil {
			err = o.free()
		}
		if err != nil {
			return fmt.Errorf("firmware %s: %w", way.what, err)
		}
	}
	return nil
}

// holder is a process that has its working directory in a mount.
type holder struct {
	cmd  *exec.Cmd
	hold io.Closer
}

func hold(dir string) (*holder, error) {
	h := &holder{cmd: exec.Command("cat")}
	h.cmd.Dir = dir
	stdin, err := h.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	h.hold = stdin
	return h, h.cmd.Start()
}

// release ends the process; the error says that something else did.
func (h *holder) release() error {
	_ = h.hold.Close()
	return h.cmd.Wait()
}

func unmountBusy(k *kit, layer string) error {
	o, err := k.mountedObject(layer)
	if err != nil {
		return err
	}
	before, err := snapshot(o.point())
	if err != nil {
		return err
	}
	at, err := mount.Stat(o.point())
	if err != nil {
		return err
	}
	h, err := hold(o.point())
	if err != nil {
		return err
	}
	err = k.stays(o, at.ID, before)
	if ended := h.release(); err == nil && ended != nil {
		err = fmt.Errorf("the process that uses it was ended: %w", ended)
	}
	if err != nil {
		return err
	}
	if err := o.unmounted(); err != nil {
		return fmt.Errorf("no longer in use: %w", err)
	}
	return nil
}

// stays tries to unmount what is in use.
func (k *kit) stays(o *object, id uint64, before map[string]entry) error {
	if err := o.unmount().is(hook.ExitBusy); err != nil {
		return fmt.Errorf("in use, status 5 wanted: %w", err)
	}
	if !mount.Is(o.point(), id) {
		return errors.New("in use, status 5, but it is no longer mounted")
	}
	after, err := snapshot(o.point())
	if err == nil {
		err = differ(before, after)
	}
	if err != nil {
		return fmt.Errorf("in use, status 5, but: %w", err)
	}
	return nil
}

// unmountKeepsGoing damages what the hook has on record. Whatever it says of that, the mount point has to be free.
func unmountKeepsGoing(k *kit, layer string) error {
	o, err := k.mountedObject(layer)
	if err != nil {
		return err
	}
	names, err := o.records()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		return skipped("the hook keeps no record in " + hook.VarState)
	}
	for _, name := range names {
		if err := os.WriteFile(filepath.Join(o.at("state"), name), []byte("no/such\xff thing\n\x00"), 0o600); err != nil {
			return err
		}
	}
	r := o.unmount()
	if r.late {
		return r.done()
	}
	if !mount.Free(o.point()) {
		return fmt.Errorf("its record damaged: still mounted after %v", r)
	}
	return nil
}

// unmountPlain does what the program does in place of a hook that said unmount=plain.
func unmountPlain(k *kit, layer string) error {
	if !k.d.Plain {
		return skipped("describe does not say unmount=plain")
	}
	o, err := k.mountedObject(layer)
	if err != nil {
		return err
	}
	if entries, err := os.ReadDir(o.at("state")); err != nil || len(entries) > 0 {
		return errors.Join(err, o.unmounted()) // a record: the program asks the hook
	}
	if err := mount.Unmount(o.point()); err != nil {
		return err
	}
	if err := o.free(); err != nil {
		return fmt.Errorf("after a plain umount(2), with %s empty: %w", hook.VarState, err)
	}
	if err := o.unmounted(); err != nil {
		return fmt.Errorf("unmount after a plain umount(2): %w", err)
	}
	return nil
}

// mountFailure offers what cannot be mounted.
func mountFailure(k *kit, layer string) error {
	type try struct {
		what  string
		spoil func(*object) error
		sure  bool // it cannot be mounted; else it may be
	}
	tries := []try{{"a lower that does not exist", func(o *object) error {
		o.vars[hook.VarLowerDir] += ":" + o.at("missing")
		return nil
	}, true}}
	if layer == hook.LayerLower {
		tries = []try{{"a firmware that does not exist", func(o *object) error { return os.Rename(o.firmware, o.firmware+".away") }, true}}
		if info, err := os.Stat(k.sample); err == nil && info.Mode().IsRegular() {
			tries = append(tries,
				try{"an image of zeros", func(o *object) error { return zeros(o.firmware, info.Size()) }, true},
				try{"an image cut in half", func(o *object) error { return os.Truncate(o.firmware, info.Size()/2) }, false})
		}
	}
	for _, t := range tries {
		o, err := k.object(layer)
		if err == nil {
			err = t.spoil(o)
		}
		if err == nil {
			err = o.fails(t.sure)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", t.what, err)
		}
	}
	return nil
}

// zeros makes a file hold nothing else.
func zeros(path string, size int64) error {
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return err
	}
	return os.Truncate(path, size)
}

// fails mounts what is broken, then unmounts as the program does after a failed mount.
func (o *object) fails(sure bool) error {
	r := o.mount()
	switch {
	case r.late:
		return r.done()
	case r.done() == nil && sure:
		return errors.New("mount: exit status 0, a failure wanted")
	case r.done() != nil && len(r.stderr) == 0:
		return fmt.Errorf("%v: no reason on stderr", r)
	}
	o.vars[hook.VarReason] = "failed-mount"
	if err := o.unmounted(); err != nil {
		return err
	}
	return o.free()
}
