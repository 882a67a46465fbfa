// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"
)

// maxFile is far above any real configuration; it keeps a wrong --config (a
// device, an image) from being read to its end.
const maxFile = 1 << 20

func (c *Config) loadFile(path string, explicit bool) error {
	data, err := readFile(path)
	if errors.Is(err, fs.ErrNotExist) && !explicit {
		return nil
	}
	if err != nil {
		return fmt.Errorf("cannot read configuration %s: %w", plain(path), err)
	}
	c.File = path
	return c.parse(path, data)
}

func readFile(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", withoutPath(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return "", withoutPath(err)
	}
	if len(data) > maxFile {
		return "", errors.New("larger than 1 MiB")
	}
	return string(data), nil
}

// withoutPath drops the file's name, which the message has already.
func withoutPath(err error) error {
	var pathErr *fs.PathError
	if errors.As(err, &pathErr) {
		return pathErr.Err
	}
	return err
}

// parse stores what data sets. On an error c is not to be used.
func (c *Config) parse(path, data string) error {
	var top map[string]toml.Primitive
	md, err := toml.Decode(data, &top)
	var syntax toml.ParseError
	if errors.As(err, &syntax) {
		return fmt.Errorf("cannot read configuration %s:%d: %s", plain(path), syntax.Position.Line, oneLine(syntax.Message))
	}
	if err != nil {
		return fmt.Errorf("cannot read configuration %s: %s", plain(path), oneLine(err.Error()))
	}
	doc := document{path: plain(path), md: &md, top: top}
	for _, key := range doc.keys() {
		if err := c.setFromFile(doc, key); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) setFromFile(doc document, key string) error {
	value, line := doc.look(key)
	s, known := findSetting(key)
	if !known {
		return fmt.Errorf("cannot read configuration %s:%d: unknown key %q; known are %s",
			doc.path, line, key, strings.Join(keyNames(), ", "))
	}
	err := s.set(c, value)
	var sub *subKeyError
	if errors.As(err, &sub) {
		_, line = doc.look(append([]string{key}, sub.path...)...)
	}
	if err != nil {
		return fmt.Errorf("cannot read configuration %s:%d: %s: %w", doc.path, line, key, err)
	}
	c.origins[key] = fmt.Sprintf("file %s:%d", doc.path, line)
	return nil
}

func keyNames() []string {
	names := make([]string, len(settings))
	for i, s := range settings {
		names[i] = s.key
	}
	return names
}

// plain keeps a path as it is unless it would break a line or hide its end.
func plain(path string) string {
	if quoted := strconv.Quote(path); quoted[1:len(quoted)-1] != path {
		return quoted
	}
	return path
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// document is a parsed file whose values can be asked for their line.
type document struct {
	path string
	md   *toml.MetaData
	top  map[string]toml.Primitive
}

// keys lists the top-level keys in the file's order.
func (d document) keys() []string {
	var list []string
	seen := make(map[string]bool)
	for _, key := range d.md.Keys() {
		if !seen[key[0]] {
			seen[key[0]] = true
			list = append(list, key[0])
		}
	}
	return list
}

// look gives the value at a path of keys and its line. The library tells a
// value's position only in the error that wraps what an Unmarshaler returns;
// so look decodes into one that keeps the value and always returns an error.
func (d document) look(path ...string) (any, int) {
	at := d.top[path[0]]
	for _, key := range path[1:] {
		var table map[string]toml.Primitive
		if err := d.md.PrimitiveDecode(at, &table); err != nil {
			break
		}
		at = table[key]
	}
	return d.locate(at)
}

func (d document) locate(at toml.Primitive) (any, int) {
	var p probe
	var positioned toml.ParseError
	line := 0
	if err := d.md.PrimitiveDecode(at, &p); errors.As(err, &positioned) {
		line = positioned.Position.Line
	}
	if _, isTable := p.value.(map[string]any); !isTable || line != 0 {
		return p.value, line
	}
	// A table made by a dotted key has no line of its own: its first key's it is.
	var table map[string]toml.Primitive
	if err := d.md.PrimitiveDecode(at, &table); err == nil {
		for _, inner := range table {
			if _, n := d.locate(inner); line == 0 || n < line {
				line = n
			}
		}
	}
	return p.value, line
}

var errProbe = errors.New("probed")

type probe struct{ value any }

// UnmarshalTOML keeps the value; see look for why it fails.
func (p *probe) UnmarshalTOML(value any) error {
	p.value = value
	return errProbe
}
