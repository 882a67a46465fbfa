// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"path/filepath"
	"strings"

	"firmwared/core/sandbox"
)

// ParseBind reads SOURCE:TARGET[:ro|:rw]. A colon in a path is written \:, a
// backslash \\.
func ParseBind(text string) (sandbox.Bind, error) {
	fields := splitColons(text)
	var b sandbox.Bind
	if n := len(fields) - 1; n == 2 && (fields[n] == "ro" || fields[n] == "rw") {
		b.ReadOnly = fields[n] == "ro"
		fields = fields[:n]
	}
	if len(fields) != 2 || fields[0] == "" {
		return b, fmt.Errorf(`%q is no bind: write SOURCE:TARGET or SOURCE:TARGET:ro, and \: for a colon in a path`, text)
	}
	if !strings.HasPrefix(fields[1], "/") {
		return b, fmt.Errorf("%q is no bind: its target is not an absolute path", text)
	}
	source, err := filepath.Abs(fields[0])
	if err != nil {
		return b, fmt.Errorf("cannot bind %q: %w", text, err)
	}
	b.Source, b.Target = source, fields[1]
	return b, nil
}

func splitColons(text string) []string {
	var fields []string
	var field strings.Builder
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] == '\\' && i+1 < len(text) && (text[i+1] == ':' || text[i+1] == '\\'):
			i++
			field.WriteByte(text[i])
		case text[i] == ':':
			fields = append(fields, field.String())
			field.Reset()
		default:
			field.WriteByte(text[i])
		}
	}
	return append(fields, field.String())
}
