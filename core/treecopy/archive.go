// SPDX-License-Identifier: Apache-2.0

package treecopy

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Object is something to be archived; a directory's content comes by itself.
type Object interface {
	Open() (*os.File, error) // of a regular file
	Readlink() (string, error)
	Xattrs() (map[string]string, error)
}

// Archive writes a tar stream every byte of which follows from what is added, in
// its order: owners are numbers, times whole seconds, and runs of zeros are holes
// wherever the file system had some. Files with several names stay links.
type Archive struct {
	ctx    context.Context
	out    io.Writer
	tar    *tar.Writer
	newest time.Time
	seen   map[[2]uint64]string // files with several names, by device and inode
	leave  func(name, why string)
}

// NewArchive begins a stream. Times after newest become it, unless that is zero.
// leave is told what the stream cannot hold.
func NewArchive(ctx context.Context, w io.Writer, newest time.Time, leave func(name, why string)) *Archive {
	return &Archive{ctx: ctx, out: w, tar: tar.NewWriter(w), newest: newest, seen: map[[2]uint64]string{}, leave: leave}
}

// Close ends the stream, not the writer.
func (a *Archive) Close() error { return a.tar.Close() }

// Empty adds an empty file that means something by its name.
func (a *Archive) Empty(name string) error {
	return a.header(&tar.Header{Format: tar.FormatPAX, Typeflag: tar.TypeReg, Name: name, Mode: 0o600, ModTime: time.Unix(0, 0)})
}

// Add adds an object as name, which is relative. No part of it is written if the
// object cannot be read: the caller may go on with the next one.
func (a *Archive) Add(name string, st *unix.Stat_t, o Object) (err error) {
	if a.ctx.Err() != nil {
		return context.Cause(a.ctx)
	}
	if done, err := a.Link(name, st); done || err != nil {
		return err
	}
	h := a.common(name, st)
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		defer func() {
			if err == nil {
				a.seen[[2]uint64{st.Dev, st.Ino}] = name
			}
		}()
	}
	if err := a.attributes(h, o); err != nil {
		return err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return a.file(h, st, o)
	case unix.S_IFDIR:
		h.Typeflag, h.Name = tar.TypeDir, strings.TrimSuffix(name, "/")+"/"
	case unix.S_IFLNK:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = o.Readlink(); err != nil {
			return fmt.Errorf("cannot read link %q: %w", name, err)
		}
	case unix.S_IFIFO:
		h.Typeflag = tar.TypeFifo
	case unix.S_IFCHR, unix.S_IFBLK:
		h.Typeflag = tar.TypeChar
		if st.Mode&unix.S_IFMT == unix.S_IFBLK {
			h.Typeflag = tar.TypeBlock
		}
		h.Devmajor, h.Devminor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	default:
		a.leave(name, "a tar stream has no sockets")
		return nil
	}
	return a.header(h)
}

// common is what the headers of all kinds of objects have.
func (a *Archive) common(name string, st *unix.Stat_t) *tar.Header {
	h := &tar.Header{
		Format: tar.FormatPAX, Name: name, Uid: int(st.Uid), Gid: int(st.Gid), Mode: int64(st.Mode & 0o7777),
		ModTime: time.Unix(st.Mtim.Sec, 0), PAXRecords: map[string]string{},
	}
	if !a.newest.IsZero() && h.ModTime.After(a.newest) {
		h.ModTime = a.newest
	}
	return h
}

// Link adds a name of a file that is in the stream under another one, and tells
// whether it is.
func (a *Archive) Link(name string, st *unix.Stat_t) (done bool, err error) {
	first, again := a.seen[[2]uint64{st.Dev, st.Ino}]
	if !again {
		return false, nil
	}
	h := a.common(name, st)
	h.Typeflag, h.Linkname = tar.TypeLink, first
	return true, a.header(h)
}

func (a *Archive) attributes(h *tar.Header, o Object) error {
	all, err := o.Xattrs()
	if err != nil {
		return fmt.Errorf("cannot read the attributes of %q: %w", h.Name, err)
	}
	for key, value := range all {
		if strings.Contains(key, "=") {
			a.leave(h.Name, fmt.Sprintf("a tar stream cannot hold the name of its attribute %q", key))
			continue
		}
		h.PAXRecords[xattrPrefix+key] = value
	}
	return nil
}

func (a *Archive) header(h *tar.Header) error {
	if err := a.tar.WriteHeader(h); err != nil {
		return fmt.Errorf("cannot archive %q: %w", h.Name, err)
	}
	return nil
}

func (a *Archive) file(h *tar.Header, st *unix.Stat_t, o Object) error {
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	file, err := o.Open()
	if err != nil {
		return fmt.Errorf("cannot read %q: %w", h.Name, err)
	}
	defer file.Close()
	runs, err := dataRuns(a.ctx, file, h.Size)
	if err != nil {
		return fmt.Errorf("cannot read %q: %w", h.Name, err)
	}
	if runs.whole(h.Size) {
		if err := a.header(h); err != nil {
			return err
		}
		return copyBody(a.ctx, a.tar, file, h.Size, h.Name, a.leave)
	}
	return a.sparse(h, file, runs)
}
