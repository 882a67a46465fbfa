// SPDX-License-Identifier: Apache-2.0

package rwlayer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sort"

	"golang.org/x/sys/unix"
)

// Dir is one directory as an overlay of some layers would show it, read without
// one: whiteouts and opaque directories are honoured in every layer. It holds
// an open descriptor per layer.
type Dir struct {
	layers []layerDir // top first
}

type layerDir struct {
	fd int
	// opaque is the value of its attribute: 'y' hides what is below, 'x' says
	// that regular files may be whiteouts, 0 neither.
	opaque byte
}

// OpenLayers opens the root of a merged tree.
func OpenLayers(paths ...string) (*Dir, error) {
	d := &Dir{}
	for _, path := range paths {
		l, err := openLayer(unix.AT_FDCWD, path)
		if err != nil {
			d.Close()
			return nil, fmt.Errorf("cannot open layer %s: %w", path, err)
		}
		d.layers = append(d.layers, l)
	}
	return d, nil
}

func openLayer(dir int, name string) (l layerDir, err error) {
	l.fd, err = unix.Openat(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return l, err
	}
	var value [2]byte
	if n, err := unix.Fgetxattr(l.fd, overlayOpaque, value[:]); err == nil && n == 1 {
		l.opaque = value[0]
	}
	if n, _ := unix.Fgetxattr(l.fd, overlayRedirect, nil); n > 0 {
		unix.Close(l.fd)
		return l, errForeign
	}
	return l, nil
}

// close closes the descriptor; a nil layerDir has none.
func (l *layerDir) close() {
	if l != nil {
		unix.Close(l.fd)
	}
}

// errForeign is an rw layer that an overlay with other options has written:
// what it shows cannot be told from the layer alone.
var errForeign = errors.New("the rw layer was written by a union with redirect_dir or metacopy, which firmwared's own never uses")

// Close closes all descriptors; a nil Dir has none.
func (d *Dir) Close() {
	if d == nil {
		return
	}
	for _, l := range d.layers {
		unix.Close(l.fd)
	}
	d.layers = nil
}

// root is the merged directory itself.
func (d *Dir) root() (*Node, error) { return nodeAt(d.layers[0].fd, ".") }

// isWhiteout says whether an entry of the layer hides those below
// (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories").
func (l layerDir) isWhiteout(n *Node) bool {
	switch n.Type() {
	case unix.S_IFCHR:
		return n.Stat.Rdev == 0
	case unix.S_IFREG:
		if l.opaque != 'x' || n.Stat.Size != 0 {
			return false
		}
		_, err := unix.Lgetxattr(fmt.Sprintf("/proc/self/fd/%d/%s", l.fd, n.name), overlayWhiteout, nil)
		return err == nil
	}
	return false
}

// Lookup returns what name shows, or nil. If that is a directory, it comes
// opened, too, and the caller closes it.
func (d *Dir) Lookup(name string) (found *Node, sub *Dir, err error) {
	for _, l := range d.layers {
		n, err := nodeAt(l.fd, name)
		if err != nil {
			sub.Close()
			return nil, nil, err
		}
		if n == nil {
			continue
		}
		if l.isWhiteout(n) || found != nil && !n.IsDir() {
			break
		}
		if found == nil {
			found = n
		}
		if !n.IsDir() {
			break
		}
		below, err := openLayer(l.fd, name)
		if err != nil {
			sub.Close()
			return nil, nil, err
		}
		if sub == nil {
			sub = &Dir{}
		}
		sub.layers = append(sub.layers, below)
		if below.opaque == 'y' {
			break
		}
	}
	return found, sub, nil
}

// Names lists the directory, sorted.
func (d *Dir) Names() ([]string, error) {
	seen := map[string]bool{} // true: shown
	for _, l := range d.layers {
		entries, err := l.entries()
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if _, decided := seen[e.Name()]; decided {
				continue
			}
			shown := true
			if e.Type()&fs.ModeCharDevice != 0 || l.opaque == 'x' && e.Type().IsRegular() {
				n, err := nodeAt(l.fd, e.Name())
				if err != nil {
					return nil, err
				}
				shown = n != nil && !l.isWhiteout(n)
			}
			seen[e.Name()] = shown
		}
	}
	names := make([]string, 0, len(seen))
	for name, shown := range seen {
		if shown {
			names = append(names, name)
		}
	}
	sort.Strings(names)
	return names, nil
}

// names lists one layer, whiteouts and all.
func (l layerDir) names() ([]string, error) {
	entries, err := l.entries()
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (l layerDir) entries() ([]fs.DirEntry, error) {
	fd, err := unix.Openat(l.fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0) // a position of its own
	if err != nil {
		return nil, err
	}
	// By this name os finds the types that a file system does not tell.
	dir := os.NewFile(uintptr(fd), fmt.Sprintf("/proc/self/fd/%d", fd))
	defer dir.Close()
	return dir.ReadDir(-1)
}
