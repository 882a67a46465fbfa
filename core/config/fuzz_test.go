// SPDX-License-Identifier: Apache-2.0

package config

import (
	"strings"
	"testing"
)

// FuzzParse: whatever a file holds, parsing ends, an error is one line, and
// what was accepted can be written down and read again.
func FuzzParse(f *testing.F) {
	f.Add(Example())
	f.Add("state_dir = \"/a\"\nhook_timeouts.a.mount = 3\n")
	f.Add("[hook_timeouts]\n\"\" = 1\n")
	f.Add("[[hook_timeouts]]\na = [1, {b = 2}]\n")
	f.Add("jobs.x.y = 2020-01-01T00:00:00Z\n")
	f.Add("cmdline = [\"/bin/sh\", \"\\u0000\"]\nlog_max = \"1G\"")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Load("/dev/null", true, "", func(string) string { return "" })
		if err != nil {
			t.Fatal(err)
		}
		if err := c.parse("FILE", text); err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than one line: %q", err)
			}
			return
		}
		var again strings.Builder
		for _, e := range c.Entries() {
			again.WriteString(e.Key + " = " + e.Value + "\n")
		}
		if err := c.parse("AGAIN", again.String()); err != nil {
			t.Fatalf("%v in\n%s", err, again.String())
		}
	})
}
