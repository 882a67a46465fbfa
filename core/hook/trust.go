// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// TrustError says why a file is refused as a hook. Path is the hook, or what leads to it.
type TrustError struct {
	Path   string
	Reason string
}

func (e *TrustError) Error() string {
	return fmt.Sprintf("cannot trust hook: %s %s", e.Path, e.Reason)
}

// errMasked is what load returns for a link to /dev/null.
var errMasked = errors.New("masked")

const maxLinks = 40 // as the kernel's own limit

// load checks the file at path. fs.ErrNotExist means that there is nothing at path itself.
func load(name, path string) (Hook, error) {
	var st unix.Stat_t
	if err := unix.Lstat(path, &st); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return Hook{}, err
		}
		return Hook{}, &TrustError{path, fmt.Sprintf("cannot be looked at: %v", err)}
	}
	target, err := trustedTarget(path, &st)
	if err != nil {
		return Hook{}, err
	}
	switch {
	case target == "/dev/null":
		return Hook{}, errMasked
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return Hook{}, &TrustError{path, "is not a regular file"}
	case st.Mode&0o111 == 0:
		return Hook{}, &TrustError{path, "is not executable (chmod +x)"}
	}
	return Hook{Name: name, Path: path, file: idOf(&st)}, nil
}

// Trusted checks a program as load checks a hook: only root may be able to change what path leads to.
func Trusted(path string) error {
	var st unix.Stat_t
	if _, err := trustedTarget(path, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0 {
		return &TrustError{path, "is not a program"}
	}
	return nil
}

// trustedTarget follows path component by component, as the kernel would, and checks each directory, link and file
// on the way. It returns the path without links and leaves the stat of its end in st.
func trustedTarget(path string, st *unix.Stat_t) (string, error) {
	if !filepath.IsAbs(path) {
		return "", &TrustError{path, "is not an absolute path"}
	}
	at, links := "/", 0
	rest := strings.Split(path, "/")
	if err := trustedStep(path, at, st); err != nil {
		return "", err
	}
	for len(rest) > 0 {
		step := rest[0]
		rest = rest[1:]
		switch step {
		case "", ".":
			continue
		case "..":
			at = filepath.Dir(at) // at has no links, so this is what the kernel does
			continue
		}
		next := filepath.Join(at, step)
		if err := trustedStep(path, next, st); err != nil {
			return "", err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFLNK {
			at = next
			continue
		}
		if links++; links > maxLinks {
			return "", &TrustError{path, "has too many symbolic links"}
		}
		target, err := readlink(next)
		if err != nil {
			return "", &TrustError{next, fmt.Sprintf("cannot be followed: %v", err)}
		}
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(strings.Split(target, "/"), rest...)
	}
	return at, trustedStep(path, at, st) // again: the last step may have been "..", or back to "/"
}

// trustedStep checks one component of the way to a hook. Only root may be able to put another file in its place:
// a directory that others can write is safe if it is sticky, as what root owns in it stays. A link's own mode means
// nothing, and /dev/null, which masks, is writable by all.
func trustedStep(hook, path string, st *unix.Stat_t) error {
	if err := unix.Lstat(path, st); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return &TrustError{hook, fmt.Sprintf("leads to %s, which does not exist", path)}
		}
		return &TrustError{hook, fmt.Sprintf("cannot be looked at: %s: %v", path, err)}
	}
	if st.Uid != 0 {
		return &TrustError{path, fmt.Sprintf("belongs to uid %d, not to root", st.Uid)}
	}
	kind := st.Mode & unix.S_IFMT
	sticky := kind == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0
	if kind != unix.S_IFLNK && kind != unix.S_IFCHR && !sticky && st.Mode&0o022 != 0 {
		return &TrustError{path, "is writable by others than root (chmod go-w)"}
	}
	return nil
}

func readlink(path string) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlink(path, buf)
	if err != nil {
		return "", err
	}
	return string(buf[:n]), nil
}
