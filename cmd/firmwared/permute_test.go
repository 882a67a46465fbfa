// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
)

func TestPermute(t *testing.T) {
	for line, want := range map[string]string{
		"firmwared list --json":                       "firmwared list --json",
		"firmwared --root d start box --attach -- sh": "firmwared --root d start --attach -- box -- sh",
		"firmwared run d --rm --env A=1 -- ls -l":     "firmwared run --rm --env A=1 -- d -- ls -l",
		"firmwared run d --env=A=1":                   "firmwared run --env=A=1 -- d",
		"firmwared firmware add p --name n":           "firmwared firmware add --name n -- p",
		"firmwared drop a b --force":                  "firmwared drop --force -- a b",
		"firmwared run -- sh":                         "firmwared run -- -- sh",
		"firmwared nosuch -x":                         "firmwared nosuch -x",
	} {
		got := permute(newApp(), strings.Fields(line))
		if !slices.Equal(got, strings.Fields(want)) {
			t.Errorf("permute(%q) = %q; want %q", line, strings.Join(got, " "), want)
		}
	}
}

func TestJoinWordsIsReadAgainBySet(t *testing.T) {
	for want, words := range map[string][]string{
		"": nil, `["two words"]`: {"two words"}, "a b": {"a", "b"}, `["a b","c"]`: {"a b", "c"}, `["a",""]`: {"a", ""},
	} {
		if got := joinWords(true, words); got != want {
			t.Errorf("joinWords(%q) = %s; want %s", words, got, want)
		}
	}
	if got := joinWords(false, []string{"two words"}); got != "two words" {
		t.Errorf("a property of one word is written as %s", got)
	}
}
