// SPDX-License-Identifier: Apache-2.0

package console

import (
	"bytes"
	"fmt"
	"strings"
)

// DefaultDetachKeys is what ends an attachment unless it is set otherwise.
const DefaultDetachKeys = "ctrl-]"

// ParseKeys turns "ctrl-p,ctrl-q" or "ctrl-]" or "x" into the bytes a terminal
// sends for them. "" and "none" give no keys.
func ParseKeys(text string) ([]byte, error) {
	if text == "" || text == "none" {
		return nil, nil
	}
	var keys []byte
	for _, name := range strings.Split(text, ",") {
		key, ok := parseKey(name)
		if !ok {
			return nil, fmt.Errorf("cannot use detach keys %q: %q is neither a character nor ctrl- and one of a-z [ \\ ] ^ _ @", text, name)
		}
		keys = append(keys, key)
	}
	return keys, nil
}

func parseKey(name string) (byte, bool) {
	if len(name) == 1 && name[0] > ' ' && name[0] < 0x7f {
		return name[0], true
	}
	rest, found := strings.CutPrefix(name, "ctrl-")
	if !found || len(rest) != 1 {
		return 0, false
	}
	c := rest[0]
	if c >= 'a' && c <= 'z' {
		c -= 'a' - 'A'
	}
	if c < '@' || c > '_' {
		return 0, false
	}
	return c - '@', true
}

// Detacher finds the detach keys in what a person types.
type Detacher struct {
	keys []byte
	seen int
}

// NewDetacher never detaches when keys is empty.
func NewDetacher(keys []byte) *Detacher {
	return &Detacher{keys: keys}
}

// Feed returns what of p is to be passed on. The beginning of the keys is held
// back until it is clear that they do not follow; what comes after them is
// dropped.
func (d *Detacher) Feed(p []byte) (out []byte, detached bool) {
	if len(d.keys) == 0 {
		return p, false
	}
	for _, c := range p {
		pending := append(bytes.Clone(d.keys[:d.seen]), c)
		d.seen = overlap(pending, d.keys)
		if d.seen == len(d.keys) {
			return append(out, pending[:len(pending)-d.seen]...), true
		}
		out = append(out, pending[:len(pending)-d.seen]...)
	}
	return out, false
}

// overlap is the length of the longest end of typed that keys begin with.
func overlap(typed, keys []byte) int {
	for n := min(len(typed), len(keys)); n > 0; n-- {
		if bytes.HasSuffix(typed, keys[:n]) {
			return n
		}
	}
	return 0
}
