// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Forget makes a path as the lowers have it, by removing what rw has of it with
// remove, which gets a path that is safe to use while it runs. No union may be
// mounted on rw. A path that the instance has not touched is a success. Killed at
// any moment, it leaves the tree that rw shows as it was, the path aside.
func Forget(rw string, lowers []string, at string, remove func(string) error) error {
	names := strings.FieldsFunc(path.Clean(at), func(r rune) bool { return r == '/' })
	if len(names) == 0 || slices.Contains(names, "..") {
		return fmt.Errorf("%q is not a path below the root", at)
	}
	upper, err := openLayer(unix.AT_FDCWD, rw)
	if err != nil {
		return err
	}
	defer func() { upper.close() }()
	lower, err := OpenLayers(lowers...)
	if err != nil {
		return err
	}
	defer func() { lower.Close() }()
	for i, name := range names {
		if upper.opaque == 'y' {
			if err := uncover(upper, lower); err != nil {
				return fmt.Errorf("cannot show the firmware's /%s: %w", path.Join(names[:i]...), err)
			}
		}
		own, err := nodeAt(upper.fd, name)
		if err != nil || own == nil {
			return err
		}
		if i == len(names)-1 {
			return remove(fmt.Sprintf("/proc/self/fd/%d/%s", upper.fd, name))
		}
		if !own.IsDir() {
			return fmt.Errorf("its directory /%s was deleted or replaced, too: reset that", path.Join(names[:i+1]...))
		}
		next, err := openLayer(upper.fd, name)
		if err != nil {
			return err
		}
		upper.close()
		upper = next
		_, sub, err := lower.Lookup(name)
		if err != nil {
			return err
		}
		lower.Close()
		if lower = sub; lower == nil {
			lower = &Dir{} // all of it is the instance's own
		}
	}
	return nil
}

// uncover makes an opaque directory one that is merged with the lowers, and shows
// the same: what the lowers have and it has not gets a whiteout, and its own
// directories become opaque in its place.
func uncover(upper layerDir, lower *Dir) error {
	names, err := lower.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		own, err := nodeAt(upper.fd, name)
		switch {
		case err != nil:
		case own == nil:
			err = unix.Mknodat(upper.fd, name, unix.S_IFCHR, 0)
		case own.IsDir():
			err = unix.Setxattr(fmt.Sprintf("/proc/self/fd/%d/%s", upper.fd, name), overlayOpaque, []byte{'y'}, 0)
		}
		if err != nil {
			return err
		}
	}
	if err := unix.Fremovexattr(upper.fd, overlayOpaque); err != nil && !errors.Is(err, unix.ENODATA) {
		return err
	}
	return nil
}
