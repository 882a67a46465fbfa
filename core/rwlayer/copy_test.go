// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// everything is all that a copy must keep of a tree. Inodes are numbered in the order in which they are met, so that
// two trees with the same hard links have the same numbers.
func everything(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	inodes := map[uint64]int{}
	must(t, filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		if _, met := inodes[st.Ino]; !met {
			inodes[st.Ino] = len(inodes)
		}
		content := ""
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFREG:
			data, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			content = string(data)
		case unix.S_IFLNK:
			content, _ = os.Readlink(path)
		}
		all[strings.TrimPrefix(path, root)] = fmt.Sprintf("%o %d:%d rdev %x mtime %v inode %d xattrs %q %.100q",
			st.Mode, st.Uid, st.Gid, st.Rdev, st.Mtim, inodes[st.Ino], xattrsOf(path), content)
		return nil
	}))
	return all
}

func sameTrees(t *testing.T, want map[string]string, copied string) {
	t.Helper()
	got := everything(t, copied)
	if maps.Equal(got, want) {
		return
	}
	for path, w := range want {
		if got[path] != w {
			t.Errorf("%s:\nwant %s\ngot  %s", path, w, got[path])
		}
		delete(got, path)
	}
	for path := range got {
		t.Errorf("%s appeared", path)
	}
}

// TestCopyIsTheSame copies what random histories in an overlay left in its upper.
func TestCopyIsTheSame(t *testing.T) {
	seed := rand.Uint64()
	for round := range *rounds {
		t.Run(fmt.Sprint(seed, "-", round), func(t *testing.T) {
			p := &player{Rand: rand.New(rand.NewPCG(seed, uint64(round)))}
			w := newWorld(t, 1)
			p.history(t, w, w.lowers[0], nil, 25)
			w.mount(t)
			p.root = w.union
			for range 40 {
				p.step()
			}
			w.unmount()
			want := everything(t, w.rw)
			to := w.rw + ".copy"
			_, err := Copy(context.Background(), w.rw, to)
			must(t, err)
			sameTrees(t, want, to)
			if _, err := os.Lstat(to + linksSuffix); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("left behind: %v", err)
			}
		})
	}
}

// TestCopySpecials: what random histories do not make.
func TestCopySpecials(t *testing.T) {
	w := newWorld(t, 1)
	in := func(name string) string { return filepath.Join(w.rw, name) }
	must(t, os.Mkdir(in("dir"), 0o755))
	must(t, os.WriteFile(in("suid"), []byte("x"), 0o755))
	must(t, os.Chown(in("suid"), 12, 34))
	must(t, unix.Chmod(in("suid"), 0o6755))
	capability := []byte("\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	must(t, unix.Setxattr(in("suid"), "security.capability", capability, 0))
	must(t, unix.Setxattr(in("dir"), overlayOpaque, []byte("y"), 0))
	must(t, os.Symlink("/etc/passwd", in("link")))
	must(t, unix.Lsetxattr(in("link"), "trusted.a", []byte("of the link"), 0))
	must(t, unix.Mknod(in("socket"), unix.S_IFSOCK|0o700, 0))
	must(t, unix.Mknod(in("disk"), unix.S_IFBLK|0o600, int(unix.Mkdev(8, 1))))
	must(t, unix.Mknod(in("whiteout"), unix.S_IFCHR, 0))
	must(t, os.Link(in("whiteout"), filepath.Join(filepath.Dir(w.rw), "work", "whiteout"))) // as overlayfs shares one
	must(t, os.WriteFile(in("new\nline\x1b\xff"), nil, 0o000))
	must(t, os.Symlink("/etc", in("dir/hostile")))

	sparse, err := os.Create(in("sparse"))
	must(t, err)
	_, err = sparse.WriteAt([]byte("middle"), 5<<20)
	must(t, err)
	must(t, sparse.Truncate(64<<20))
	must(t, sparse.Close())

	to := w.rw + ".copy"
	usage, err := Copy(context.Background(), w.rw, to)
	must(t, err)
	sameTrees(t, everything(t, w.rw), to)
	var st unix.Stat_t
	must(t, unix.Stat(filepath.Join(to, "sparse"), &st))
	if st.Blocks*512 > 1<<20 {
		t.Errorf("the copy of a sparse file takes %d bytes", st.Blocks*512)
	}
	if usage.Inodes != 10 || usage.Bytes > 1<<20 {
		t.Errorf("usage: %+v", usage)
	}
}

// TestCopyAccessLists: the mode of what has an access control list, and of what is made below a default one.
func TestCopyAccessLists(t *testing.T) {
	w := newWorld(t, 1)
	dir := filepath.Join(w.rw, "dir")
	must(t, os.Mkdir(dir, 0o755))
	must(t, unix.Setxattr(dir, "system.posix_acl_access", accessList(12, 7), 0))
	must(t, unix.Setxattr(dir, "system.posix_acl_default", accessList(12, 6), 0))
	must(t, os.WriteFile(filepath.Join(dir, "inherited"), nil, 0o640))
	must(t, os.WriteFile(filepath.Join(dir, "plain"), nil, 0o604))
	must(t, unix.Removexattr(filepath.Join(dir, "plain"), "system.posix_acl_access"))
	to := w.rw + ".copy"
	_, err := Copy(context.Background(), w.rw, to)
	must(t, err)
	sameTrees(t, everything(t, w.rw), to)
}

// accessList lets one more user in (acl(5); the form is that of linux/posix_acl_xattr.h).
func accessList(user uint32, may uint16) []byte {
	list := binary.LittleEndian.AppendUint32(nil, 2)
	for _, entry := range []struct {
		tag, may uint16
		id       uint32
	}{{0x01, 7, ^uint32(0)}, {0x02, may, user}, {0x04, 5, ^uint32(0)}, {0x10, 7, ^uint32(0)}, {0x20, 0, ^uint32(0)}} {
		list = binary.LittleEndian.AppendUint16(list, entry.tag)
		list = binary.LittleEndian.AppendUint16(list, entry.may)
		list = binary.LittleEndian.AppendUint32(list, entry.id)
	}
	return list
}

// TestCopyOfDeepTree: far below any path, with few descriptors.
func TestCopyOfDeepTree(t *testing.T) {
	w := newWorld(t, 1)
	const depth = 10000
	at, err := unix.Open(w.rw, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(t, err)
	for range depth {
		must(t, unix.Mkdirat(at, "d", 0o750))
		next, err := unix.Openat(at, "d", unix.O_PATH|unix.O_DIRECTORY, 0)
		must(t, err)
		unix.Close(at)
		at = next
	}
	unix.Close(at)
	usage, err := Copy(context.Background(), w.rw, w.rw+".copy")
	must(t, err)
	if usage.Inodes != depth+1 {
		t.Errorf("%d objects", usage.Inodes)
	}
}

// TestCopyFails: no room, and an end that comes from outside, are errors that say what.
func TestCopyFails(t *testing.T) {
	w := newWorld(t, 1)
	must(t, os.WriteFile(filepath.Join(w.rw, "big"), bytes.Repeat([]byte("x"), 3<<20), 0o644))
	small := t.TempDir()
	must(t, unix.Mount("rwlayer", small, "tmpfs", 0, "size=1m"))
	t.Cleanup(func() { _ = unix.Unmount(small, unix.MNT_DETACH) })
	_, err := Copy(context.Background(), w.rw, filepath.Join(small, "copy"))
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), `"/big"`) {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Copy(ctx, w.rw, w.rw+".copy"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// TestCopySharesBlocks needs a file system that can.
func TestCopySharesBlocks(t *testing.T) {
	base := t.TempDir()
	image, point := filepath.Join(base, "image"), filepath.Join(base, "point")
	must(t, os.Mkdir(point, 0o755))
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, 300<<20))
	for _, command := range [][]string{{"mkfs.btrfs", "-q", image}, {"mount", "-o", "loop", image, point}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() { _ = unix.Unmount(point, 0) })
	rw := filepath.Join(point, "rw")
	must(t, os.Mkdir(rw, 0o755))
	must(t, os.WriteFile(filepath.Join(rw, "big"), bytes.Repeat([]byte("x"), 64<<20), 0o644))
	must(t, os.Link(filepath.Join(rw, "big"), filepath.Join(rw, "other")))
	unix.Sync()
	var before, after unix.Statfs_t
	must(t, unix.Statfs(point, &before))
	_, err := Copy(context.Background(), rw, rw+".copy")
	must(t, err)
	unix.Sync()
	must(t, unix.Statfs(point, &after))
	if used := int64(before.Bfree-after.Bfree) * before.Bsize; used > 8<<20 {
		t.Errorf("the copy took %d bytes", used)
	}
	sameTrees(t, everything(t, rw), rw+".copy")
}
