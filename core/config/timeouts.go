// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"sort"
	"strings"
	"time"

	"firmwared/core/word"
)

const longestTimeout = 24 * time.Hour

// timeoutKey: the name of a hook, and maybe a dot and an action.
func timeoutKey(key string) bool {
	name, action, dot := strings.Cut(key, ".")
	return hookName.MatchString(name) && (!dot || word.Form{First: "a-z", Rest: "a-z"}.MatchString(action))
}

// subKeyError says which key of a table was wrong, so that the file's line can
// be told.
type subKeyError struct {
	path []string
	err  error
}

func (e *subKeyError) Error() string { return strings.Join(e.path, ".") + ": " + e.err.Error() }
func (e *subKeyError) Unwrap() error { return e.err }

// timeoutsSetting takes a table. `net.create = "2m"`, with or without
// quotes about its key, and a [hook_timeouts.net] table all mean the same.
func timeoutsSetting(key, doc string) setting {
	return setting{
		key: key, form: `table of durations, as { mount = "45s", "net.create" = "2m" }`, doc: doc,
		def:  func() any { return map[string]any{} },
		text: timeoutsText,
		set: func(c *Config, v any) error {
			table, ok := v.(map[string]any)
			if !ok {
				return wrongType("a table", v)
			}
			limits := make(map[string]time.Duration, len(table))
			if err := addTimeouts(limits, table, nil); err != nil {
				return err
			}
			c.Timeouts = limits
			return nil
		},
		show: func(c *Config) string { return showTimeouts(c.Timeouts) },
	}
}

func addTimeouts(limits map[string]time.Duration, table map[string]any, above []string) error {
	for _, name := range sortedKeys(table) {
		path := append(above[:len(above):len(above)], name)
		if nested, ok := table[name].(map[string]any); ok && len(above) == 0 {
			if err := addTimeouts(limits, nested, path); err != nil {
				return err
			}
			continue
		}
		key := strings.Join(path, ".")
		if !timeoutKey(key) {
			return &subKeyError{path, fmt.Errorf("must be named for a hook, or a hook and an action as in mount.unmount")}
		}
		if _, twice := limits[key]; twice {
			return &subKeyError{path, fmt.Errorf("is set twice")}
		}
		limit, err := duration(table[name])
		if err != nil {
			return &subKeyError{path, err}
		}
		limits[key] = limit
	}
	return nil
}

func duration(v any) (time.Duration, error) {
	var limit time.Duration
	switch v := v.(type) {
	case string:
		d, err := time.ParseDuration(v)
		if err != nil {
			return 0, fmt.Errorf("%q is no duration; write it as 90s or 2m", v)
		}
		limit = d
	case int64:
		if v > int64(longestTimeout/time.Second) {
			v = int64(longestTimeout/time.Second) + 1
		}
		limit = time.Duration(max(v, 0)) * time.Second
	default:
		return 0, wrongType("a duration or a number of seconds", v)
	}
	if limit < time.Millisecond || limit > longestTimeout {
		return 0, fmt.Errorf("must be between 1ms and 24h")
	}
	return limit, nil
}

// timeoutsText reads NAME=DURATION pairs with commas between them.
func timeoutsText(text string) (any, error) {
	table := make(map[string]any)
	for _, pair := range strings.Split(text, ",") {
		name, limit, found := strings.Cut(strings.TrimSpace(pair), "=")
		if !found {
			return nil, fmt.Errorf("%q must be NAME=DURATION", pair)
		}
		table[name] = limit
	}
	return table, nil
}

func showTimeouts(limits map[string]time.Duration) string {
	pairs := make([]string, 0, len(limits))
	for _, name := range sortedKeys(limits) {
		pairs = append(pairs, quote(name)+" = "+quote(limits[name].String()))
	}
	if len(pairs) == 0 {
		return "{}"
	}
	return "{ " + strings.Join(pairs, ", ") + " }"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
