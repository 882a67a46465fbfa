// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"firmwared/core/word"
)

// Description is what a hook says about itself.
type Description struct {
	Layers    []string // of those that this version of the contract knows; never empty
	Summary   string
	Formats   []string
	Requires  []string
	Options   []string // keys, as in --option KEY=VALUE
	Magic     []Magic  // any of them may match
	Live      bool     // remount=live: a running instance's union can be refreshed
	Pack      bool     // pack=yes: can make an image of a directory
	Daemon    bool     // may leave processes behind until its unmount
	Directory string   // directory=all, none: it takes each one, or no one; "": it has to be asked
	Plain     bool     // unmount=plain: umount(2) undoes a mount that left FIRMWARED_STATE empty
	Schemes   []string // of a fetch hook: the beginnings of URLs, without ://
}

// DescribeError tells why a hook cannot be used: what it said about itself does not follow the contract.
type DescribeError struct {
	Path string
	Err  error
}

func (e *DescribeError) Error() string {
	return fmt.Sprintf("cannot use hook %s: %v", e.Path, e.Err)
}

func (e *DescribeError) Unwrap() error { return e.Err }

// Magic are bytes at a place in an image that tell its format.
type Magic struct {
	Offset int64
	Bytes  []byte
}

// Bounds of what describe may print.
const (
	maxDescribe     = 16 << 10
	maxDescribeLine = 2048
	maxDescribeKeys = 256
	maxMagic        = 64
)

var (
	optionPattern    = word.Form{First: "a-z", Rest: "a-z0-9_-", Max: 63}
	optionVarPattern = word.Form{First: "A-Z", Rest: "A-Z0-9_", Max: 63}
	schemePattern    = word.Form{First: "a-z", Rest: "a-z0-9+.-", Max: 31}
)

// OptionVar is the variable that carries an option of a firmware, or of a network.
func OptionVar(key string) string {
	return optionPrefix + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// HasLayer says whether the hook can do that layer.
func (d Description) HasLayer(layer string) bool { return slices.Contains(d.Layers, layer) }

// What a hook may say of directories.
const (
	DirectoryAll  = "all"
	DirectoryNone = "none"
)

// MayTake says whether the source of a firmware can be this hook's at all, so that its probe is worth a call. A hook
// that announced magics takes images that have one of them, and nothing else. source is nil for a directory.
func (d Description) MayTake(source io.ReaderAt) bool {
	if source == nil {
		return len(d.Magic) == 0 && d.Directory != DirectoryNone
	}
	return len(d.Magic) == 0 || d.match(source)
}

// Takes says whether the source is the hook's without asking it.
func (d Description) Takes(source io.ReaderAt) bool {
	return source == nil && len(d.Magic) == 0 && d.Directory == DirectoryAll
}

func (d Description) match(image io.ReaderAt) bool {
	for _, m := range d.Magic {
		buf := make([]byte, len(m.Bytes))
		if n, _ := image.ReadAt(buf, m.Offset); n == len(buf) && bytes.Equal(buf, m.Bytes) {
			return true
		}
	}
	return false
}

// Parse reads the output of the action describe. Keys and layers that it does not know are left out: a hook may be
// newer than the program.
func Parse(output []byte) (Description, error) {
	d := Description{}
	if len(output) > maxDescribe {
		return d, fmt.Errorf("describe printed more than %d bytes", maxDescribe)
	}
	if !utf8.Valid(output) {
		return d, errors.New("describe printed text that is not UTF-8")
	}
	lines := strings.Split(strings.TrimSuffix(string(output), "\n"), "\n")
	if err := checkAPI(lines[0]); err != nil {
		return d, err
	}
	if len(lines) > maxDescribeKeys {
		return d, fmt.Errorf("describe printed more than %d lines", maxDescribeKeys)
	}
	var layers []string
	for i, line := range lines[1:] {
		if line == "" {
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || len(line) > maxDescribeLine {
			return Description{}, fmt.Errorf("describe's line %d is not KEY=VALUE: %s", i+2, clip(escape(line), 60))
		}
		if key == "layers" {
			layers = append(layers, strings.Fields(value)...)
			continue
		}
		if err := d.set(key, value); err != nil {
			return Description{}, fmt.Errorf("describe's line %d: %w", i+2, err)
		}
	}
	for _, known := range []string{LayerLower, LayerUnion, LayerNet, LayerFetch, LayerVerify} {
		if slices.Contains(layers, known) {
			d.Layers = append(d.Layers, known)
		}
	}
	if len(d.Layers) == 0 {
		return Description{}, fmt.Errorf("describe names no layer that is known here (layers=%s)", clip(escape(strings.Join(layers, " ")), 60))
	}
	return d, nil
}

func checkAPI(line string) error {
	version, ok := strings.CutPrefix(line, "api=")
	switch {
	case !ok:
		return fmt.Errorf("describe's first line is %q, not api=%s", clip(line, 60), API)
	case version != API:
		return fmt.Errorf("it follows version %q of the hook contract, this program version %s", clip(version, 60), API)
	}
	return nil
}

func (d *Description) set(key, value string) (err error) {
	switch key {
	case "summary":
		d.Summary = escape(value)
	case "formats":
		d.Formats = addWords(d.Formats, escape(value))
	case "requires":
		d.Requires = addWords(d.Requires, escape(value))
	case "option":
		for _, word := range strings.Fields(value) {
			if !optionPattern.MatchString(word) {
				return fmt.Errorf("%q is not the name of an option", clip(word, 60))
			}
			d.Options = addWords(d.Options, word)
		}
	case "magic":
		for _, word := range strings.Fields(value) {
			m, err := parseMagic(word)
			if err != nil {
				return err
			}
			d.Magic = append(d.Magic, m)
		}
	case "remount":
		d.Live, err = choice(key, value, "live", "none")
	case "pack":
		d.Pack, err = choice(key, value, "yes", "no")
	case "directory":
		if d.Directory = value; value == "ask" {
			d.Directory = ""
			break
		}
		_, err = choice(key, value, DirectoryAll, DirectoryNone)
	case "unmount":
		d.Plain, err = choice(key, value, "plain", "hook")
	case "schemes":
		for _, word := range strings.FieldsFunc(value, func(r rune) bool { return r == ',' || r == ' ' }) {
			if !schemePattern.MatchString(word) {
				return fmt.Errorf("%q is not the scheme of a URL", clip(word, 60))
			}
			d.Schemes = addWords(d.Schemes, word)
		}
	case "daemon":
		d.Daemon, err = choice(key, value, "yes", "no")
	}
	return err
}

func addWords(list []string, value string) []string {
	for _, word := range strings.Fields(value) {
		if !slices.Contains(list, word) {
			list = append(list, word)
		}
	}
	return list
}

func choice(key, value, yes, no string) (bool, error) {
	if value != yes && value != no {
		return false, fmt.Errorf("%s is %q, not %s or %s", key, clip(value, 60), yes, no)
	}
	return value == yes, nil
}

func parseMagic(word string) (Magic, error) {
	offset, digits, ok := strings.Cut(word, ":")
	at, err := strconv.ParseInt(offset, 0, 64)
	raw, hexErr := hex.DecodeString(digits)
	if !ok || err != nil || at < 0 || hexErr != nil || len(raw) == 0 || len(raw) > maxMagic {
		return Magic{}, fmt.Errorf("magic is %q, not OFFSET:HEX", clip(word, 60))
	}
	return Magic{Offset: at, Bytes: raw}, nil
}

// Describe asks a hook what it can do, or takes the answer that the same state of its file gave before.
func (r *Runner) Describe(ctx context.Context, h Hook) (Description, error) {
	entry := r.cacheEntry(h)
	if output, ok := entry.load(); ok {
		if d, err := Parse(output); err == nil {
			return d, nil
		}
	}
	output, err := r.Run(ctx, Call{Hook: h, Action: ActionDescribe})
	if err != nil {
		return Description{}, err
	}
	d, err := Parse(output)
	if err != nil {
		return Description{}, &DescribeError{Path: h.Path, Err: err}
	}
	entry.store(output)
	return d, nil
}
