// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
)

func textSetting(key, def, form string, check func(string) error, field func(*Config) *string, doc string) setting {
	return setting{
		key: key, form: form, doc: doc,
		def: func() any { return def },
		set: func(c *Config, v any) error {
			s, ok := v.(string)
			if !ok {
				return wrongType("a string", v)
			}
			if err := check(s); err != nil {
				return err
			}
			*field(c) = s
			return nil
		},
		show: func(c *Config) string { return quote(*field(c)) },
	}
}

// pathSetting takes its default by address: the linker may have changed it.
func pathSetting(key string, def *string, field func(*Config) *string, doc string) setting {
	s := textSetting(key, "", "absolute path", checkPath, field, doc)
	s.def = func() any { return *def }
	set := s.set
	s.set = func(c *Config, v any) error {
		if err := set(c, v); err != nil {
			return err
		}
		*field(c) = filepath.Clean(*field(c))
		return nil
	}
	return s
}

func pathsSetting(key string, def *string, field func(*Config) *[]string, doc string) setting {
	split := func(text string) []any { return anys(strings.Split(text, ":")) }
	return setting{
		key: key, form: "list of absolute paths", doc: doc,
		def:  func() any { return split(*def) },
		text: func(text string) (any, error) { return listText(text, split) },
		set: func(c *Config, v any) error {
			list, err := stringList(v)
			if err != nil {
				return err
			}
			for i, path := range list {
				if err := checkPath(path); err != nil {
					return err
				}
				list[i] = filepath.Clean(path)
			}
			*field(c) = list
			return nil
		},
		show: func(c *Config) string { return quoteList(*field(c)) },
	}
}

func wordsSetting(key string, def []string, field func(*Config) *[]string, doc string) setting {
	split := func(text string) []any { return anys(strings.Fields(text)) }
	return setting{
		key: key, form: "list of words", doc: doc,
		def:  func() any { return anys(def) },
		text: func(text string) (any, error) { return listText(text, split) },
		set: func(c *Config, v any) error {
			list, err := stringList(v)
			if err != nil {
				return err
			}
			if list[0] == "" {
				return errors.New("the first word must not be empty")
			}
			for _, word := range list {
				if strings.Contains(word, "\x00") {
					return fmt.Errorf("%q has a NUL byte", word)
				}
			}
			*field(c) = list
			return nil
		},
		show: func(c *Config) string { return quoteList(*field(c)) },
	}
}

func countSetting(key string, def, limit int64, field func(*Config) *int, doc string) setting {
	form := fmt.Sprintf("number from 0 to %d", limit)
	return setting{
		key: key, form: form, doc: doc,
		def: func() any { return def },
		text: func(text string) (any, error) {
			n, err := strconv.ParseInt(text, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("must be a %s", form)
			}
			return n, nil
		},
		set: func(c *Config, v any) error {
			n, ok := v.(int64)
			if !ok {
				return wrongType("a "+form, v)
			}
			if n < 0 || n > limit {
				return fmt.Errorf("must be a %s, not %d", form, n)
			}
			*field(c) = int(n)
			return nil
		},
		show: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

func sizeSetting(key string, def int64, field func(*Config) *int64, doc string) setting {
	return setting{
		key: key, form: "size, at least 64KiB, as 16MiB", doc: doc,
		def: func() any { return def },
		set: func(c *Config, v any) error {
			n, err := sizeValue(v)
			if err != nil {
				return err
			}
			if n < 64<<10 || n > 1<<40 {
				return errors.New("must be between 64KiB and 1TiB")
			}
			*field(c) = n
			return nil
		},
		show: func(c *Config) string { return showSize(*field(c)) },
	}
}

// idsPerNamespace is what one instance needs at least.
const idsPerNamespace = 65536

func idsSetting(key, def string, fields func(*Config) (first, count *uint32), doc string) setting {
	const form = "FIRST:COUNT"
	return setting{
		key: key, form: form + ", COUNT at least 65536", doc: doc,
		def: func() any { return def },
		set: func(c *Config, v any) error {
			text, ok := v.(string)
			if !ok {
				return wrongType("a string "+form, v)
			}
			before, after, found := strings.Cut(text, ":")
			first, err1 := strconv.ParseUint(before, 10, 32)
			count, err2 := strconv.ParseUint(after, 10, 32)
			// The last id of 32 bits means "none".
			if !found || err1 != nil || err2 != nil || first+count > 1<<32-1 {
				return fmt.Errorf("%q is not %s", text, form)
			}
			if first < idsPerNamespace || count < idsPerNamespace {
				return fmt.Errorf("%q must begin at 65536 or above, and have 65536 ids or more", text)
			}
			a, b := fields(c)
			*a, *b = uint32(first), uint32(count)
			return nil
		},
		show: func(c *Config) string {
			first, count := fields(c)
			return quote(fmt.Sprintf("%d:%d", *first, *count))
		},
	}
}

func wrongType(want string, v any) error {
	have := "a value of another kind"
	switch v.(type) {
	case string:
		have = "a string"
	case int64:
		have = "a number"
	case float64:
		have = "a fraction"
	case bool:
		have = "true or false"
	case []any:
		have = "a list"
	case map[string]any, []map[string]any:
		have = "a table"
	}
	return fmt.Errorf("must be %s, not %s", want, have)
}

func stringList(v any) ([]string, error) {
	values, ok := v.([]any)
	if !ok {
		return nil, wrongType("a list of strings", v)
	}
	if len(values) == 0 {
		return nil, errors.New("must not be empty")
	}
	list := make([]string, len(values))
	for i, value := range values {
		if list[i], ok = value.(string); !ok {
			return nil, wrongType("a list of strings", value)
		}
	}
	return list, nil
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}
