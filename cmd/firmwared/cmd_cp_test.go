// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

func TestParsePlace(t *testing.T) {
	for word, want := range map[string]place{
		"box:/etc": {"box", "/etc"}, "box:etc": {"box", "etc"}, "box:/a:b": {"box", "/a:b"}, "box:": {"box", ""},
		"./a:b": {"", "./a:b"}, "/a:b": {"", "/a:b"}, ":x": {"", ":x"}, "a": {"", "a"}, "-": {"", "-"}, "": {"", ""},
	} {
		if got := parsePlace(word); got != want {
			t.Errorf("%q: %+v", word, got)
		}
	}
}

func FuzzParsePlace(f *testing.F) {
	f.Add("box:/etc")
	f.Fuzz(func(t *testing.T, word string) {
		switch got := parsePlace(word); {
		case got.instance == "" && got.path != word:
			t.Errorf("%q: %+v", word, got)
		case got.instance != "" && (got.instance+":"+got.path != word || strings.Contains(got.instance, "/")):
			t.Errorf("%q: %+v", word, got)
		}
	})
}
