// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/mount"
)

// openBind clones the source of a bind, as its caller sees it. With ids the clone
// shows the host's root as the instance's, and so on, where its file system can do
// that; else its files are nobody's to the instance.
func openBind(b Bind, ids *IDs) (_ int, err error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, b.Source,
		unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return -1, stage("bind", b.Source, err)
	}
	defer func() {
		if err != nil {
			unix.Close(tree)
		}
	}()
	// Private: a clone stays in its source's peer group, and mounts made by
	// the instance must not appear on the host.
	attr := &unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if b.ReadOnly {
		attr.Attr_set = unix.MOUNT_ATTR_RDONLY
	}
	err = unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr)
	if errors.Is(err, unix.ENOSYS) {
		err = errors.New("a bind needs Linux 5.12")
	}
	if err == nil && ids != nil {
		err = ids.showOwners(tree)
	}
	return tree, stage("bind", b.Source, err)
}

func (ids *IDs) showOwners(tree int) error {
	ns, err := mount.NewIDMap(mount.IDRange{Inside: 0, Outside: ids.First, Count: ids.Count})
	if err != nil {
		return err
	}
	defer ns.Close()
	err = ns.Apply(tree, true)
	if errors.Is(err, mount.ErrNoIDMap) {
		return nil
	}
	return err
}

// attachBinds comes after /dev, /proc and /sys, so that a bind may lie in them.
func (s *initStage) attachBinds() error {
	for i, tree := range s.binds {
		target := s.spec.Binds[i].Target
		at, err := bindTarget(tree, target)
		if err != nil {
			return stage("bind to", target, err)
		}
		err = attach(tree, at)
		unix.Close(at)
		unix.Close(tree)
		if err != nil {
			return stage("bind to", target, err)
		}
	}
	return nil
}

// bindTarget opens the place for tree, making it and the directories above it
// when missing. Links are followed inside the root only, magic ones never.
func bindTarget(tree int, target string) (int, error) {
	isDir, err := isDirectory(tree)
	if err != nil {
		return -1, err
	}
	names := strings.FieldsFunc(target, func(r rune) bool { return r == '/' })
	for i, name := range names {
		last := i == len(names)-1
		if err := makeMissing(strings.Join(names[:i], "/"), name, isDir || !last); err != nil {
			return -1, err
		}
	}
	at, err := openInRoot(strings.Join(names, "/"), unix.O_PATH)
	if err != nil {
		return -1, err
	}
	placeIsDir, err := isDirectory(at)
	switch {
	case err != nil:
	case isDir && !placeIsDir:
		err = errors.New("the source is a directory and the target is not")
	case !isDir && placeIsDir:
		err = errors.New("the target is a directory and the source is not")
	default:
		return at, nil
	}
	unix.Close(at)
	return -1, err
}

func isDirectory(fd int) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Mode&unix.S_IFMT == unix.S_IFDIR, err
}

// makeMissing makes name in the directory parent, which exists. What is there
// already stays, a dangling link too: opening it tells.
func makeMissing(parent, name string, dir bool) error {
	if name == "." || name == ".." {
		return nil
	}
	at, err := openInRoot(parent, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer unix.Close(at)
	if dir {
		err = unix.Mkdirat(at, name, 0o755)
	} else {
		err = unix.Mknodat(at, name, unix.S_IFREG|0o644, 0)
	}
	if err == nil || errors.Is(err, unix.EEXIST) {
		return nil
	}
	// A read-only directory says so before it looks for the name.
	var st unix.Stat_t
	if unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW) == nil {
		return nil
	}
	return err
}

// openInRoot resolves a path of the instance as the instance would.
func openInRoot(path string, flags uint64) (int, error) {
	root, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	defer unix.Close(root)
	if path == "" {
		path = "."
	}
	return unix.Openat2(root, path, &unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
}
