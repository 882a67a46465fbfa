// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/registry"
	"firmwared/core/rwlayer"
	"firmwared/core/treecopy"
)

// ExportOptions are what `export` takes besides the instance and the file.
type ExportOptions struct {
	Changes bool      // only what the instance changed, as a layer of an OCI image
	Newest  time.Time // later times in the stream become this one; zero: none do
	// Leave is told what the stream cannot hold and why.
	Leave func(name, why string)
}

// Export writes an instance's tree, or what it changed, to w as a tar stream. The
// same tree makes the same bytes. As with Diff, a running instance goes on and
// may be seen in the middle of a change. Needs Enter.
func (m *Manager) Export(ctx context.Context, inst *registry.Instance, w io.Writer, o ExportOptions) error {
	err := m.onLayers(ctx, inst, func(u union) error {
		e := &exporter{m: m, a: treecopy.NewArchive(ctx, w, o.Newest, o.Leave), leave: o.Leave}
		var err error
		// The skeleton is no part of the firmware.
		if rw, lowers := m.at.rw(inst.ID), m.firmwareDirs(u); o.Changes {
			err = rwlayer.DiffAndLinks(ctx, rw, lowers, e.change, e.unchanged)
			if err == nil {
				err = e.joinLinks()
			}
		} else {
			err = rwlayer.Walk(ctx, append([]string{rw}, lowers...), e.add)
		}
		if err != nil {
			return err
		}
		return e.a.Close()
	})
	if err != nil {
		return fmt.Errorf("cannot export instance %s: %w", inst.Name, err)
	}
	return nil
}

// ExportFile is Export to a file, which appears whole or not at all.
func (m *Manager) ExportFile(ctx context.Context, inst *registry.Instance, file string, o ExportOptions) error {
	return writeWhole(file, func(w io.Writer) error { return m.Export(ctx, inst, w, o) })
}

type exporter struct {
	m     *Manager
	a     *treecopy.Archive
	leave func(name, why string)
	gone  string // below it there is nothing to tell
	links []link // of those that are as they were
}

type link struct {
	path string
	stat unix.Stat_t
}

func (e *exporter) unchanged(path string, n *rwlayer.Node) {
	e.links = append(e.links, link{path, n.Stat})
}

// joinLinks adds those names that stood for a file of the firmware and now are other
// names of one that is in the layer.
func (e *exporter) joinLinks() error {
	for _, l := range e.links {
		if strings.HasPrefix(path.Base(l.path), whiteoutPrefix) {
			continue // it stays as it is below
		}
		if _, err := e.a.Link(entryName(l.path), &l.stat); err != nil {
			return err
		}
	}
	return nil
}

// A file of such a name in a layer means that the one without it is deleted
// (OCI image specification, "Whiteouts").
const whiteoutPrefix = ".wh."

// add adds an object under its path in the instance.
func (e *exporter) add(path string, n *rwlayer.Node) error {
	if n.Type() == unix.S_IFSOCK {
		e.m.notice(fmt.Sprintf("left out: %s: a socket is nothing without its process", quote(path)))
		return nil
	}
	err := e.a.Add(entryName(path), &n.Stat, n)
	if vanished(err) {
		return nil
	}
	return err
}

func (e *exporter) change(c rwlayer.Change) error {
	if e.gone != "" && strings.HasPrefix(c.Path, e.gone+"/") {
		return nil
	}
	dir, base := path.Split(c.Path)
	switch {
	case strings.HasPrefix(base, whiteoutPrefix):
		e.leave(c.Path, "in a layer a name that begins with .wh. means a deletion")
		return nil
	case c.What == rwlayer.Deleted:
		e.gone = c.Path
		return e.a.Empty(entryName(dir + whiteoutPrefix + base))
	case c.Before != nil && c.Before.IsDir() && !c.After.IsDir():
		e.gone = c.Path // whoever applies the layer replaces the directory
	}
	return e.add(c.Path, c.After)
}

func entryName(path string) string { return "./" + strings.TrimPrefix(path, "/") }
