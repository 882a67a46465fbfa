// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
)

// packShows packs a tree that has one of each kind of thing, and a link out of it, and compares what the hook then
// mounts with it. Times and attributes are the format's business.
func packShows(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	tree, output := o.at("tree"), o.at("made/image")
	if err := errors.Join(makeTree(tree), os.Mkdir(filepath.Dir(output), 0o700), o.addOddities(tree)); err != nil {
		return err
	}
	before, err := snapshot(tree)
	if err != nil {
		return err
	}
	r := k.call(request{action: hook.ActionPack, vars: map[string]string{hook.VarFirmware: tree, hook.VarOutput: output}})
	if !k.d.Pack {
		if err := r.is(hook.ExitNotMine); err != nil {
			return fmt.Errorf("describe has no pack=yes, status 3 wanted: %w", err)
		}
		return nil
	}
	if r.is(hook.ExitMissing) == nil {
		return skipped("it cannot pack here: " + r.String())
	}
	if err := r.done(); err != nil {
		return err
	}
	after, err := snapshot(tree)
	if err == nil {
		err = differ(before, after)
	}
	if err != nil {
		return fmt.Errorf("it changed the tree: %w", err)
	}
	if info, err := os.Lstat(output); err != nil || !info.Mode().IsRegular() {
		return errors.New("pack: exit status 0, but there is no image")
	}
	o.vars[hook.VarFirmware] = output
	if err := o.mounted(); err != nil {
		return fmt.Errorf("the image that it made: %w", err)
	}
	shown, err := snapshot(o.point(), filepath.Join(o.point(), "lost+found"))
	if err == nil {
		err = differ(timeless(before), timeless(shown))
	}
	if err != nil {
		return fmt.Errorf("the image compared with the tree: %w", err)
	}
	if !sameFile(filepath.Join(o.point(), "etc/firmware"), filepath.Join(o.point(), "hard")) {
		return errors.New(`the image compared with the tree: "hard" and "etc/firmware" are two files, not one`)
	}
	return nil
}

// addOddities adds what a program may follow, lose or wait for.
func (o *object) addOddities(tree string) error {
	if err := writeFile(o.at("outside"), "none of the tree's\n"); err != nil {
		return err
	}
	return errors.Join(
		os.Symlink(o.at("outside"), filepath.Join(tree, "out")),
		os.Symlink("nowhere", filepath.Join(tree, "dangling")),
		os.Link(filepath.Join(tree, "etc/firmware"), filepath.Join(tree, "hard")),
		unix.Mkfifo(filepath.Join(tree, "fifo"), 0o640),
		writeFile(filepath.Join(tree, "home/file"), "of a user\n"),
		os.Lchown(filepath.Join(tree, "home/file"), 1000, 1001),
		os.Lchown(filepath.Join(tree, "dangling"), 1000, 1001),
	)
}

// timeless leaves out of a tree's entries what an image may show otherwise.
func timeless(tree map[string]entry) map[string]entry {
	plain := map[string]entry{}
	for path, e := range tree {
		e.mtime = 0
		if e.mode&fs.ModeSymlink != 0 {
			e.mode = fs.ModeSymlink // its permissions mean nothing
		}
		plain[path] = e
	}
	return plain
}

func sameFile(a, b string) bool {
	one, err := os.Lstat(a)
	if err != nil {
		return false
	}
	other, err := os.Lstat(b)
	return err == nil && os.SameFile(one, other)
}
