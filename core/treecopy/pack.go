// SPDX-License-Identifier: Apache-2.0

package treecopy

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const xattrPrefix = "SCHILY.xattr."

// statBlock is the unit of st_blocks, whatever the file system's is (stat(2)).
const statBlock = 512

// packer walks one tree.
type packer struct {
	*Archive
	tree Tree
}

// Pack writes what lies at name of tree t to w, as top. With top "." it is the
// content of a directory. leave is told what cannot be copied.
func Pack(ctx context.Context, w io.Writer, t Tree, name, top string, leave func(name, why string)) error {
	flags := uint64(unix.O_PATH)
	if !strings.HasSuffix(name, "/") && !strings.HasSuffix(name, "/.") {
		flags |= unix.O_NOFOLLOW
	}
	f, err := t.open(name, flags)
	if err != nil {
		return err
	}
	defer f.Close()
	p := &packer{NewArchive(ctx, w, time.Time{}, leave), t}
	if err := p.add(f, top); err != nil {
		return err
	}
	return p.Close()
}

// add writes one file, or a directory with all below it.
func (p *packer) add(f *os.File, name string) error {
	if err := p.ctx.Err(); err != nil {
		return context.Cause(p.ctx)
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return fmt.Errorf("cannot look at %q: %w", name, err)
	}
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Uid: p.tree.inside(int(st.Uid)), Gid: p.tree.inside(int(st.Gid)), Mode: int64(st.Mode & 0o7777),
		ModTime: time.Unix(st.Mtim.Unix()), PAXRecords: map[string]string{},
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return p.addFile(f, h, &st)
	case unix.S_IFDIR:
		return p.addDir(f, h)
	case unix.S_IFLNK:
		target, err := readlink(f)
		if err != nil {
			return fmt.Errorf("cannot read link %q: %w", name, err)
		}
		h.Typeflag, h.Linkname = tar.TypeSymlink, target
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	default:
		p.leave(name, "devices and sockets are not copied")
		return nil
	}
	return p.header(h)
}

func (p *packer) addFile(f *os.File, h *tar.Header, st *unix.Stat_t) error {
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if st.Nlink > 1 {
		id := [2]uint64{uint64(st.Dev), st.Ino}
		if first, again := p.seen[id]; again {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return p.header(h)
		}
		p.seen[id] = h.Name
	}
	file, err := reopen(f, unix.O_RDONLY)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := readXattrs(file, h); err != nil {
		return err
	}
	if st.Blocks*statBlock < st.Size { // it has holes
		runs, err := dataRuns(p.ctx, file, h.Size)
		if err != nil {
			return fmt.Errorf("cannot read %q: %w", h.Name, err)
		}
		if !runs.whole(h.Size) {
			return p.sparse(h, file, runs)
		}
	}
	if err := p.header(h); err != nil {
		return err
	}
	return copyBody(p.ctx, p.tar, file, h.Size, h.Name, p.leave)
}

// copyBody writes the next size bytes of a file, with zeros for those that it no
// longer has, as GNU tar does.
func copyBody(ctx context.Context, w io.Writer, file io.Reader, size int64, name string, leave func(name, why string)) error {
	n, err := io.Copy(w, io.LimitReader(&cancelReader{ctx, file}, size))
	if err == nil && n < size {
		leave(name, fmt.Sprintf("it shrank while it was read: its last %d bytes are zeros", size-n))
		_, err = io.CopyN(w, zeros{}, size-n)
	}
	if err != nil {
		return fmt.Errorf("cannot copy %q: %w", name, err)
	}
	return nil
}

func (p *packer) addDir(f *os.File, h *tar.Header) error {
	dir, err := reopen(f, unix.O_RDONLY|unix.O_DIRECTORY)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := readXattrs(dir, h); err != nil {
		return err
	}
	name := h.Name
	h.Typeflag, h.Name = tar.TypeDir, name+"/"
	if err := p.header(h); err != nil {
		return err
	}
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return fmt.Errorf("cannot read directory %q: %w", name, err)
	}
	slices.Sort(names)
	for _, entry := range names {
		fd, err := unix.Openat(int(dir.Fd()), entry, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if errors.Is(err, unix.ENOENT) {
			continue // it was deleted meanwhile
		}
		if err != nil {
			return fmt.Errorf("cannot open %q: %w", path.Join(name, entry), err)
		}
		child := os.NewFile(uintptr(fd), entry)
		err = p.add(child, path.Join(name, entry))
		child.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func readlink(f *os.File) (string, error) {
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(int(f.Fd()), "", buf)
	return string(buf[:max(n, 0)]), err
}

// readXattrs leaves out those that the union file system keeps for itself.
func readXattrs(f *os.File, h *tar.Header) error {
	list := make([]byte, 64<<10) // the kernel's limit
	n, err := unix.Flistxattr(int(f.Fd()), list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot list attributes of %q: %w", h.Name, err)
	}
	value := make([]byte, 64<<10)
	for _, key := range strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if key == "" || strings.HasPrefix(key, "trusted.overlay.") {
			continue
		}
		n, err := unix.Fgetxattr(int(f.Fd()), key, value)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return fmt.Errorf("cannot read attribute %q of %q: %w", key, h.Name, err)
		}
		h.PAXRecords[xattrPrefix+key] = string(value[:n])
	}
	return nil
}

// cancelReader ends a long copy with its context.
type cancelReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *cancelReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.r.Read(p)
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
