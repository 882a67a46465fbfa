// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	udiff "github.com/aymanbagabas/go-udiff"
	"golang.org/x/sys/unix"

	"firmwared/core/rwlayer"
)

// patchLimit is the size from which a file is not compared line by line.
const patchLimit = 8 << 20

// version is one side of a patch: what is at a path, or nothing.
type version struct {
	label string // "a/etc/motd", or /dev/null
	node  *rwlayer.Node
	text  string
	odd   bool // not text that can be compared
}

func newVersion(prefix, path string, n *rwlayer.Node) (v version, err error) {
	v = version{label: "/dev/null", node: n}
	if n == nil {
		return v, nil
	}
	v.label = patchName(prefix + path)
	switch n.Type() {
	case unix.S_IFREG:
		v.text, v.odd, err = readText(n)
	case unix.S_IFLNK:
		v.text, err = n.Readlink()
	default:
		v.odd = true
	}
	return v, err
}

func readText(n *rwlayer.Node) (text string, odd bool, err error) {
	if n.Stat.Size > patchLimit {
		return "", true, nil
	}
	file, err := n.Open()
	if err != nil {
		return "", false, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, patchLimit))
	return string(data), bytes.IndexByte(data, 0) >= 0, err
}

func (v version) mode() string {
	if v.node == nil {
		return ""
	}
	return fmt.Sprintf("%06o", v.node.Stat.Mode)
}

func (v version) owner() string {
	if v.node == nil {
		return ""
	}
	return fmt.Sprintf("%d:%d", v.node.Stat.Uid, v.node.Stat.Gid)
}

// Patch writes a difference as a section of a unified diff, as git writes them:
// patch(1) with -p1 applies what it can. It must be called while Diff's emit runs.
func (d Difference) Patch(w io.Writer) error {
	path := d.RawPath()
	before, err := newVersion("a", path, d.change.Before)
	if err == nil {
		var after version
		if after, err = newVersion("b", path, d.change.After); err == nil {
			return writePatch(w, path, before, after)
		}
	}
	if vanished(err) {
		return nil
	}
	return fmt.Errorf("cannot read %s: %w", quote(path), err)
}

func writePatch(w io.Writer, path string, before, after version) error {
	var b strings.Builder
	fmt.Fprintf(&b, "diff --git %s %s\n", patchName("a"+path), patchName("b"+path))
	switch {
	case before.node == nil:
		fmt.Fprintf(&b, "new file mode %s\n", after.mode())
	case after.node == nil:
		fmt.Fprintf(&b, "deleted file mode %s\n", before.mode())
	case before.mode() != after.mode():
		fmt.Fprintf(&b, "old mode %s\nnew mode %s\n", before.mode(), after.mode())
	}
	if before.node != nil && after.node != nil && before.owner() != after.owner() {
		fmt.Fprintf(&b, "old owner %s\nnew owner %s\n", before.owner(), after.owner())
	}
	switch {
	case isDevice(before.node) || isDevice(after.node): // the mode says it all
	case before.odd || after.odd:
		fmt.Fprintf(&b, "Binary files %s and %s differ\n", before.label, after.label)
	default:
		b.WriteString(udiff.Unified(before.label, after.label, before.text, after.text))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// isDevice says whether something has neither lines nor bytes of its own.
func isDevice(n *rwlayer.Node) bool {
	return n != nil && n.Type() != unix.S_IFREG && n.Type() != unix.S_IFLNK
}

// patchName quotes a name as git does where it holds what would end it.
func patchName(name string) string {
	plain := true
	var b strings.Builder
	b.WriteByte('"')
	for i := range len(name) {
		switch c := name[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, "\\%03o", c)
		default:
			b.WriteByte(c)
			continue
		}
		plain = false
	}
	if plain {
		return name
	}
	return b.String() + `"`
}
