// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/BurntSushi/toml"

	"firmwared/core/word"
)

var hookName = word.Form{First: "a-z0-9", Rest: "a-z0-9_-"}

func checkHookName(s string) error {
	if !hookName.MatchString(s) {
		return fmt.Errorf("%q is no name of a hook (lower-case letters, digits, - and _)", s)
	}
	return nil
}

// checkPool: in a /29 there is room for two instances, and no private network is larger than a /8.
func checkPool(s string) error {
	p, err := netip.ParsePrefix(s)
	if err != nil || !p.Addr().Is4() || p.Bits() < 8 || p.Bits() > 29 {
		return fmt.Errorf("%q is not an IPv4 network from /8 to /29, as 10.202.0.0/16", s)
	}
	if p != p.Masked() {
		return fmt.Errorf("%q is an address in a network: the network is %s", s, p.Masked())
	}
	return nil
}

func checkPath(s string) error {
	if !filepath.IsAbs(s) {
		return fmt.Errorf("%q must be an absolute path", s)
	}
	if strings.Contains(s, "\x00") {
		return fmt.Errorf("%q has a NUL byte", s)
	}
	return nil
}

func optionalPath(s string) error {
	if s == "" {
		return nil
	}
	return checkPath(s)
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		for _, word := range words {
			if s == word {
				return nil
			}
		}
		last := len(words) - 1
		return fmt.Errorf("%q must be %s or %s", s, strings.Join(words[:last], ", "), words[last])
	}
}

// keyForm: one printable character, or ctrl- with a character that has a control
// code: a letter or one of @ [ \ ] ^ _.
func keyForm(k string) bool {
	if control, ok := strings.CutPrefix(k, "ctrl-"); ok {
		return len(control) == 1 && ('@' <= control[0] && control[0] <= '_' || 'a' <= control[0] && control[0] <= 'z')
	}
	return len(k) == 1 && '!' <= k[0] && k[0] <= '~'
}

func checkKeys(s string) error {
	for _, k := range strings.Split(s, ",") {
		if !keyForm(k) {
			return fmt.Errorf("%q: %q is no key; write a character or ctrl- and a letter or one of @[\\]^_", s, k)
		}
	}
	return nil
}

// listText reads a list from the environment: a TOML array, for values that
// hold the separator themselves, or what split makes of the text.
func listText(text string, split func(string) []any) (any, error) {
	if !strings.HasPrefix(text, "[") {
		return split(text), nil
	}
	var doc map[string]any
	if _, err := toml.Decode("list = "+text, &doc); err != nil || len(doc) != 1 {
		return nil, errors.New("begins with [ but is no TOML array")
	}
	return doc["list"], nil
}

var sizeUnits = []struct {
	name  string
	bytes int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}}

func sizeValue(v any) (int64, error) {
	if n, ok := v.(int64); ok {
		return n, nil
	}
	text, ok := v.(string)
	if !ok {
		return 0, wrongType("a size", v)
	}
	return ParseSize(text)
}

// ParseSize reads bytes, or a number with KiB, MiB, GiB or just K, M, G, which
// mean the same.
func ParseSize(text string) (int64, error) {
	digits, factor := text, int64(1)
	for _, u := range sizeUnits {
		number, isUnit := strings.CutSuffix(text, u.name)
		if !isUnit {
			number, isUnit = strings.CutSuffix(text, u.name[:1])
		}
		if isUnit {
			digits, factor = strings.TrimRight(number, " "), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/factor {
		return 0, fmt.Errorf("%q is no size; write bytes, or a whole number with KiB, MiB or GiB", text)
	}
	return n * factor, nil
}

func showSize(n int64) string {
	for _, u := range sizeUnits {
		if n%u.bytes == 0 {
			return quote(strconv.FormatInt(n/u.bytes, 10) + u.name)
		}
	}
	return strconv.FormatInt(n, 10)
}

// quote writes a TOML basic string. Go's own quoting knows escapes that TOML
// does not.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < 0x20 || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func quoteList(list []string) string {
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
