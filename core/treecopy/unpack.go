// SPDX-License-Identifier: Apache-2.0

package treecopy

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

// unpacker fills one tree.
type unpacker struct {
	ctx   context.Context
	tree  Tree
	base  string
	leave func(name, why string)
	dirs  []*tar.Header // their modes and times come last
}

// Unpack reads a tar stream into the directory base of t. A name that would
// leave it is an error. A file replaces a file, never a directory; a directory
// that is there is gone into.
func Unpack(ctx context.Context, r io.Reader, t Tree, base string, leave func(name, why string)) error {
	u := &unpacker{ctx: ctx, tree: t, base: base, leave: leave}
	in := tar.NewReader(&cancelReader{ctx, r})
	for {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("cannot read the tar stream: %w", err)
		}
		h.Uid, h.Gid = t.outside(h.Uid), t.outside(h.Gid)
		if err := u.entry(h, in); err != nil {
			return fmt.Errorf("cannot copy %q: %w", h.Name, err)
		}
	}
	for i := len(u.dirs) - 1; i >= 0; i-- {
		if err := u.finishDir(u.dirs[i]); err != nil {
			return fmt.Errorf("cannot copy %q: %w", u.dirs[i].Name, err)
		}
	}
	// The padding behind the end: whoever writes it must not get SIGPIPE.
	_, err := io.Copy(io.Discard, r)
	return err
}

// place is where an entry belongs: its open directory and its name there.
func (u *unpacker) place(name string) (dir *os.File, base string, err error) {
	if !local(name) {
		return nil, "", errors.New("the name leads out of the directory")
	}
	name = path.Clean(name)
	parent := path.Dir(name)
	if name == "." {
		parent, base = ".", "."
	} else {
		base = path.Base(name)
	}
	dir, err = u.tree.open(u.base+"/"+parent, unix.O_PATH|unix.O_DIRECTORY)
	return dir, base, err
}

// local: relative, and without any "..".
func local(name string) bool {
	if name == "" || strings.HasPrefix(name, "/") || strings.IndexByte(name, 0) >= 0 {
		return false
	}
	for _, part := range strings.Split(name, "/") {
		if part == ".." {
			return false
		}
	}
	return true
}

func (u *unpacker) entry(h *tar.Header, content io.Reader) error {
	dir, base, err := u.place(h.Name)
	if err != nil {
		return err
	}
	defer dir.Close()
	at := int(dir.Fd())
	if h.Typeflag == tar.TypeDir {
		u.dirs = append(u.dirs, h)
		if base == "." {
			return nil
		}
		err := unix.Mkdirat(at, base, 0o700)
		if errors.Is(err, unix.EEXIST) {
			var st unix.Stat_t
			if unix.Fstatat(at, base, &st, unix.AT_SYMLINK_NOFOLLOW) == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
				return nil
			}
			return errors.New("a file is in the directory's place")
		}
		return err
	}
	if base == "." {
		return errors.New("it has no name")
	}
	// Made under a name that nobody knows, then put into place.
	temporary := ".firmwared-" + random()
	if err := u.make(h, content, at, temporary); err != nil {
		_ = unix.Unlinkat(at, temporary, 0)
		if errors.Is(err, errSkip) {
			u.leave(h.Name, err.Error())
			return nil
		}
		return err
	}
	if err := unix.Renameat(at, temporary, at, base); err != nil {
		_ = unix.Unlinkat(at, temporary, 0)
		if errors.Is(err, unix.EISDIR) {
			err = errors.New("a directory is in the file's place")
		}
		return err
	}
	// Two names of one file already: rename(2) did nothing.
	if h.Typeflag == tar.TypeLink {
		_ = unix.Unlinkat(at, temporary, 0)
	}
	return nil
}

func (u *unpacker) make(h *tar.Header, content io.Reader, at int, name string) error {
	switch h.Typeflag {
	case tar.TypeReg:
		return makeFile(h, content, at, name)
	case tar.TypeSymlink:
		if err := unix.Symlinkat(h.Linkname, at, name); err != nil {
			return err
		}
		return ownByName(h, at, name)
	case tar.TypeFifo:
		if err := unix.Mknodat(at, name, unix.S_IFIFO|0o600, 0); err != nil {
			return err
		}
		return ownByName(h, at, name)
	case tar.TypeLink:
		dir, base, err := u.place(h.Linkname)
		if err != nil {
			return err
		}
		defer dir.Close()
		return unix.Linkat(int(dir.Fd()), base, at, name, 0)
	}
	return errSkip
}

// errSkip: devices, and whatever else a stream of others may hold.
var errSkip = errors.New("devices and sockets are not copied")

func makeFile(h *tar.Header, content io.Reader, at int, name string) error {
	fd, err := unix.Openat(at, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	file := os.NewFile(uintptr(fd), name)
	if _, sparse := h.PAXRecords["GNU.sparse.major"]; sparse {
		err = copyHoles(file, content, h.Size)
	} else {
		_, err = io.Copy(file, content)
	}
	if err == nil {
		err = finish(h, file)
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	var pathErr *os.PathError
	if errors.As(err, &pathErr) {
		err = pathErr.Err // the temporary name means nothing to anybody
	}
	return err
}

// copyHoles makes grains of zeros holes: archive/tar does not tell where they are,
// and reads as zeros what is none of the data.
func copyHoles(file *os.File, content io.Reader, size int64) error {
	buf := make([]byte, grain)
	for at := int64(0); ; {
		n, err := io.ReadFull(content, buf)
		if len(bytes.Trim(buf[:n], "\x00")) > 0 {
			if _, err := file.WriteAt(buf[:n], at); err != nil {
				return err
			}
		}
		at += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	return file.Truncate(size)
}

// finish gives an open file or directory what its header says. The owner comes
// first: a change of it takes set-user-id and capabilities away.
func finish(h *tar.Header, f *os.File) error {
	fd := int(f.Fd())
	if err := unix.Fchown(fd, h.Uid, h.Gid); err != nil {
		return err
	}
	for key, value := range h.PAXRecords {
		attr, found := strings.CutPrefix(key, xattrPrefix)
		if !found || strings.HasPrefix(attr, "trusted.overlay.") {
			continue
		}
		// A file system without them loses them, as with cp -a.
		if err := unix.Fsetxattr(fd, attr, []byte(value), 0); err != nil && !errors.Is(err, unix.ENOTSUP) {
			return fmt.Errorf("attribute %q: %w", attr, err)
		}
	}
	if err := unix.Fchmod(fd, uint32(h.Mode&0o7777)); err != nil {
		return err
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(h.ModTime.UnixNano())}
	return unix.UtimesNanoAt(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), times, 0)
}

// ownByName is for what is never opened.
func ownByName(h *tar.Header, at int, name string) error {
	if err := unix.Fchownat(at, name, h.Uid, h.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if h.Typeflag != tar.TypeSymlink {
		f, err := unix.Openat(at, name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		err = unix.Chmod(fmt.Sprintf("/proc/self/fd/%d", f), uint32(h.Mode&0o7777))
		unix.Close(f)
		if err != nil {
			return err
		}
	}
	times := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(h.ModTime.UnixNano())}
	return unix.UtimesNanoAt(at, name, times, unix.AT_SYMLINK_NOFOLLOW)
}

// finishDir is for a directory whose content is complete.
func (u *unpacker) finishDir(h *tar.Header) error {
	parent, base, err := u.place(h.Name)
	if err != nil {
		return err
	}
	defer parent.Close()
	fd, err := unix.Openat(int(parent.Fd()), base, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	dir := os.NewFile(uintptr(fd), h.Name)
	defer dir.Close()
	return finish(h, dir)
}

func random() string {
	b := make([]byte, 8)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}
