// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/registry"
	"firmwared/core/rwlayer"
)

// open opens a path of the directory, and no link on the way.
func (a *applier) open(p string, flags uint64) (*os.File, error) { return openBelow(a.dir, p, flags) }

func openBelow(dir *os.File, p string, flags uint64) (*os.File, error) {
	how := &unix.OpenHow{Flags: flags | unix.O_NOFOLLOW | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS}
	for range 100 {
		fd, err := unix.Openat2(int(dir.Fd()), "./"+strings.TrimLeft(p, "/"), how)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) { // somebody renames just now
			continue
		}
		if err != nil {
			return nil, err
		}
		return os.NewFile(uintptr(fd), p), nil
	}
	return nil, unix.EAGAIN
}

func (a *applier) hasDir(p string) bool {
	dir, err := a.open(p, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return false
	}
	dir.Close()
	return true
}

// place is a path's directory, opened, and its name there.
func place(root *os.File, p string) (parent *os.File, base string, err error) {
	dir, base := path.Split(p)
	if base == "" {
		base = "."
	}
	parent, err = openBelow(root, dir, unix.O_PATH|unix.O_DIRECTORY)
	return parent, base, err
}

// run acts: deletions first, what is in a directory before it.
func (a *applier) run(ctx context.Context) error {
	for i := len(a.steps) - 1; i >= 0; i-- {
		if a.steps[i].what == rwlayer.Deleted {
			if err := a.do(ctx, a.steps[i], a.remove); err != nil {
				return err
			}
		}
	}
	for _, s := range a.steps {
		if s.what != rwlayer.Deleted {
			if err := a.do(ctx, s, a.put); err != nil {
				return err
			}
		}
	}
	dir, err := a.open(".", unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	return unix.Syncfs(int(dir.Fd()))
}

func (a *applier) do(ctx context.Context, s step, act func(s step, parent *os.File, base string) error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	parent, base, err := place(a.dir, s.path)
	if err == nil {
		err = act(s, parent, base)
		parent.Close()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", quote(s.path), err)
	}
	a.Done(s.what, s.path)
	return nil
}

func (a *applier) remove(_ step, parent *os.File, base string) error {
	err := unix.Unlinkat(int(parent.Fd()), base, 0)
	if errors.Is(err, unix.EISDIR) {
		err = unix.Unlinkat(int(parent.Fd()), base, unix.AT_REMOVEDIR)
	}
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// put makes an object as the instance has it.
func (a *applier) put(s step, parent *os.File, base string) error {
	layer, name, err := place(a.rw, s.path)
	if err != nil {
		return err
	}
	defer layer.Close()
	from, err := rwlayer.NodeAt(layer, name)
	if err != nil {
		return err
	}
	if from == nil || from.Type() != s.mode&unix.S_IFMT {
		return errors.New("the instance changed it meanwhile: try again")
	}
	now, err := rwlayer.NodeAt(parent, base)
	if err != nil {
		return err
	}
	if now != nil && now.IsDir() != (s.mode&unix.S_IFMT == unix.S_IFDIR) {
		if err := a.remove(s, parent, base); err != nil {
			return err
		}
		now = nil
	}
	at := int(parent.Fd())
	switch {
	case s.mode&unix.S_IFMT == unix.S_IFDIR:
		if now == nil {
			err = unix.Mkdirat(at, base, 0o700)
		}
		if err == nil {
			err = a.dress(s, from, parent, base, now)
		}
		return err
	case now != nil && !replaces(s.kinds) && now.Type() == s.mode&unix.S_IFMT:
		err = a.dress(s, from, parent, base, now)
	default:
		name = ".firmwared-" + registry.NewID()
		if err = makeAs(from, at, name); err == nil {
			err = a.dress(s, from, parent, name, now)
		}
		if err == nil {
			err = unix.Renameat(at, name, at, base)
		}
		if err != nil {
			_ = unix.Unlinkat(at, name, 0)
		}
	}
	if err == nil {
		if made, _ := rwlayer.NodeAt(parent, base); made != nil {
			a.stamps[s.path] = stampOf(&made.Stat)
		}
	}
	return err
}

// replaces: the kinds of a change are more than can be changed in place; an added
// path has none.
func replaces(kinds []string) bool {
	for _, kind := range kinds {
		if kind == rwlayer.KindContent || kind == rwlayer.KindType {
			return true
		}
	}
	return len(kinds) == 0
}

func makeAs(from *rwlayer.Node, at int, name string) error {
	if from.Type() == unix.S_IFLNK {
		target, err := from.Readlink()
		if err != nil {
			return err
		}
		return unix.Symlinkat(target, at, name)
	}
	source, err := from.Open()
	if err != nil {
		return err
	}
	defer source.Close()
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	_, err = io.Copy(file, source)
	return cause(errors.Join(err, file.Close()))
}

const setID = unix.S_ISUID | unix.S_ISGID

// dress gives an object owner and mode: those that the instance has, or else the
// owner of what it replaces, or of its directory. A set-user-ID bit that was not
// there would then be another user's, so it is left out.
func (a *applier) dress(s step, from *rwlayer.Node, parent *os.File, name string, now *rwlayer.Node) error {
	uid, gid, mode := s.uid, s.gid, s.mode&0o7777
	if !a.Owner {
		owner, had := now, uint32(0)
		if now == nil {
			var err error
			if owner, err = rwlayer.NodeAt(parent, "."); err != nil {
				return err
			}
		} else {
			had = now.Stat.Mode
		}
		uid, gid = owner.Stat.Uid, owner.Stat.Gid
		if s.mode&unix.S_IFMT != unix.S_IFLNK && mode&setID&^had != 0 {
			a.Leave(s.path, "its set-user-ID or set-group-ID bit, without --owner")
			mode &^= setID &^ had
		}
	}
	at := int(parent.Fd())
	if err := unix.Fchownat(at, name, int(uid), int(gid), unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	object, err := openBelow(parent, name, unix.O_PATH)
	if err != nil {
		return err
	}
	defer object.Close()
	if made, err := rwlayer.NodeAt(parent, name); a.Owner && made != nil {
		if err = copyAttributes(from, made, fmt.Sprintf("/proc/self/fd/%d", object.Fd())); err != nil {
			return err
		}
	} else if err != nil {
		return err
	}
	if s.mode&unix.S_IFMT == unix.S_IFLNK {
		return nil
	}
	return unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", object.Fd()), mode)
}

// copyAttributes makes the extended attributes of one object, which path is a safe
// way to, those of another.
func copyAttributes(from, to *rwlayer.Node, path string) error {
	want, err := from.Xattrs()
	if err != nil {
		return err
	}
	have, err := to.Xattrs()
	if err != nil {
		return err
	}
	for name := range have {
		if _, stays := want[name]; !stays {
			if err := unix.Removexattr(path, name); err != nil {
				return fmt.Errorf("attribute %q: %w", name, err)
			}
		}
	}
	for name, value := range want {
		if err := unix.Setxattr(path, name, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("attribute %q: %w", name, err)
		}
	}
	return nil
}
