// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode/utf8"

	"firmwared/core/mount"
	"firmwared/core/registry"
)

// findSource resolves the path of a firmware and says whether it is an image.
func findSource(path string) (real string, image bool, err error) {
	real, err = filepath.Abs(path)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return "", false, fmt.Errorf("cannot use %q as a firmware: %w", path, cause(err))
	}
	if !utf8.ValidString(real) {
		return "", false, fmt.Errorf("cannot use %q as a firmware: its path is not valid UTF-8: rename it", path)
	}
	info, err := os.Stat(real)
	switch {
	case err != nil:
		return "", false, fmt.Errorf("cannot use %q as a firmware: %w", path, cause(err))
	case info.IsDir():
		return real, false, nil
	case info.Mode().IsRegular():
		return real, true, nil
	}
	return "", false, fmt.Errorf("cannot use %q as a firmware: it is neither a directory nor an image file", path)
}

// sourceOf names in a message what a firmware is made of.
func sourceOf(fw *registry.Firmware) string {
	if fw.URL != "" {
		return fw.URL
	}
	return quote(fw.Path)
}

// refuseOwn refuses what firmwared itself has mounted or made for an instance, of
// this root or another one: a union over a union would write to one rw layer
// behind the back of the other, and a lower goes with its firmware.
func (m *Manager) refuseOwn(source string) error {
	what := ""
	for _, base := range []string{m.at.state, m.at.base} {
		for dir, whose := range map[string]string{"workspaces": "an instance", "lowers": "a firmware"} {
			if strings.HasPrefix(source, filepath.Join(base, dir)+"/") {
				what = "inside the directories of " + whose
			}
		}
	}
	if label, err := mount.Source(source); what == "" && err == nil && strings.HasPrefix(label, "firmwared_") {
		what = "a mount of an instance or a firmware"
	}
	if what == "" {
		return nil
	}
	return fmt.Errorf("cannot use %q as a firmware: it is %s, and unions never nest: register what the instance was made of, with --base for what is to go on top", source, what)
}

// cause strips the operation and path that os errors carry: our messages name
// the object already.
func cause(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

func statOf(info fs.FileInfo) registry.FileStat {
	st := info.Sys().(*syscall.Stat_t)
	return registry.FileStat{Dev: st.Dev, Ino: st.Ino, Size: st.Size, Mtime: st.Mtim.Nano(), Ctime: st.Ctim.Nano()}
}

// errChanging says that an image was written to while it was read.
var errChanging = errors.New("it changed while it was read: wait until it is complete")

// hashImage reads an image once, to out as well if that is not nil, and returns
// its sha256 and the state of the file that it belongs to. progress is called
// with the bytes done, and may be nil.
func hashImage(ctx context.Context, path string, out io.Writer, progress func(done, total int64)) (string, *registry.FileStat, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", nil, fmt.Errorf("cannot read image %q: %w", path, cause(err))
	}
	defer f.Close()
	before, err := f.Stat()
	if err != nil {
		return "", nil, fmt.Errorf("cannot read image %q: %w", path, cause(err))
	}
	sum := sha256.New()
	to := io.Writer(sum)
	if out != nil {
		to = io.MultiWriter(sum, out)
	}
	from := &counted{ctx: ctx, r: f, total: before.Size(), progress: progress}
	// The struct hides ReadFrom and WriteTo, which would choose smaller blocks.
	if _, err := io.CopyBuffer(struct{ io.Writer }{to}, from, make([]byte, 1<<20)); err != nil {
		return "", nil, fmt.Errorf("cannot read image %q: %w", path, err)
	}
	after, err := f.Stat()
	if err == nil && statOf(after) != statOf(before) {
		err = errChanging
	}
	if err != nil {
		return "", nil, fmt.Errorf("cannot read image %q: %w", path, cause(err))
	}
	stat := statOf(before)
	return hex.EncodeToString(sum.Sum(nil)), &stat, nil
}

// counted reads until its context is over and tells how far it got.
type counted struct {
	ctx         context.Context
	r           io.Reader
	done, total int64
	progress    func(done, total int64)
}

func (c *counted) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	n, err := c.r.Read(p)
	c.done += int64(n)
	if c.progress != nil {
		c.progress(c.done, c.total)
	}
	return n, err
}

// generation names the state of a firmware's source. A directory is another one
// once it was made anew: its inode number cannot come back while a lower mount
// of the old one pins it. An image is another one when its content or its inode
// is: a mere touch makes none. An image whose content is no longer what was
// registered is an error that says so, and so is a source that is gone. The caller
// holds the firmware exclusively: the record may be brought up to date.
func (m *Manager) generation(ctx context.Context, fw *registry.Firmware) (string, error) {
	info, err := os.Stat(fw.Path)
	if err != nil {
		return "", fmt.Errorf("%s of firmware %s is gone: %s: %w", kindOf(fw), fw.Name, quote(fw.Path), cause(err))
	}
	if info.IsDir() == fw.Image {
		return "", fmt.Errorf("%s is no longer the %s that firmware %s was registered as", quote(fw.Path), kindOf(fw), fw.Name)
	}
	st := statOf(info)
	if fw.Image && st != *fw.Stat {
		sum, stat, err := hashImage(ctx, fw.Path, nil, nil)
		if err != nil {
			return "", err
		}
		if sum != fw.SHA256 {
			return "", m.changedError(fw)
		}
		fw.Stat, st = stat, *stat
		if err := m.store.Firmwares.Save(fw); err != nil {
			return "", err
		}
	}
	return sourceGeneration(fw, st), nil
}

// sourceGeneration is generation for a source whose state is known and, of an
// image, that of the record.
func sourceGeneration(fw *registry.Firmware, st registry.FileStat) string {
	if fw.Image {
		return shortHash("image", fw.SHA256, fmt.Sprint(st.Dev, st.Ino))
	}
	return shortHash("directory", fmt.Sprint(st.Dev, st.Ino))
}

// unchanged tells that generation has nothing to read again, and writes nothing.
func unchanged(fw *registry.Firmware) bool {
	info, err := os.Stat(fw.Path)
	return err != nil || !fw.Image || statOf(info) == *fw.Stat
}

// lockedGeneration is generation for a caller that does not hold the firmware:
// the record is written under its lock only.
func (m *Manager) lockedGeneration(ctx context.Context, fw *registry.Firmware) (string, error) {
	if unchanged(fw) {
		return m.generation(ctx, fw)
	}
	lock, err := m.store.Lock(ctx, "f-"+fw.ID, registry.Exclusive)
	if err != nil {
		return "", err
	}
	defer lock.Unlock()
	if fw, err = m.store.Firmwares.Load(fw.ID); err != nil {
		return "", err
	}
	return m.generation(ctx, fw)
}

// changedError says that an image is no longer what was registered, and which
// mounted instances stand on it.
func (m *Manager) changedError(fw *registry.Firmware) error {
	on := ""
	if names := m.mountedOn(fw.ID); len(names) > 0 {
		on = fmt.Sprintf("; mounted instances of it may be broken: %s", strings.Join(names, ", "))
	}
	return fmt.Errorf("image %s of firmware %s has changed since it was added: put the old content back, or remove the firmware and add it again%s",
		quote(fw.Path), fw.Name, on)
}

func kindOf(fw *registry.Firmware) string {
	if fw.Image {
		return "image"
	}
	return "directory"
}

// shortHash makes an id out of words.
func shortHash(words ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(words, "\x00")))
	return hex.EncodeToString(sum[:6])
}

// quote shows a path as it is if it is harmless in a line of text.
func quote(path string) string {
	if hookPath.MatchString(path) {
		return path
	}
	return fmt.Sprintf("%q", path)
}
