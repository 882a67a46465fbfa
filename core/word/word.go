// SPDX-License-Identifier: Apache-2.0

// Package word tells whether a name, an id or a path has its form. Regular expressions say the same, but each costs
// every command a few dozen microseconds at its start, and those with a counted repetition more than a hundred.
package word

import "strings"

// Form is a first character, then any number of further ones. Both are given as in a bracket expression without
// its brackets, ASCII only: characters and ranges as a-z, a "-" of its own at the end.
type Form struct {
	Prefix      string // comes before the first character
	First, Rest string
	Min, Max    int // bytes of the whole without the prefix; Max 0 is no limit
}

// MatchString says whether the whole of s has the form. An empty one never has.
func (f Form) MatchString(s string) bool {
	s, ok := strings.CutPrefix(s, f.Prefix)
	if !ok || s == "" || len(s) < f.Min || f.Max > 0 && len(s) > f.Max || !in(f.First, s[0]) {
		return false
	}
	for i := 1; i < len(s); i++ {
		if !in(f.Rest, s[i]) {
			return false
		}
	}
	return true
}

// in says whether set has the character.
func in(set string, c byte) bool {
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			if set[i] <= c && c <= set[i+2] {
				return true
			}
			i += 2
		} else if set[i] == c {
			return true
		}
	}
	return false
}
