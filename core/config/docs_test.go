// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

const exampleFile = "../../conf/firmwared.toml"

func TestExampleIsUpToDate(t *testing.T) {
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	if string(data) != Example() {
		t.Errorf("%s differs from the table of settings; make it again with: make example", exampleFile)
	}
}

func TestExampleShowsTheDefaults(t *testing.T) {
	data, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	commented := regexp.MustCompile(`(?m)^#([a-z])`)
	text := commented.ReplaceAllString(string(data), "$1")
	c := load(t, text)
	plain := load(t, string(data))
	for i, e := range c.Entries() {
		if e.Value != plain.Entries()[i].Value {
			t.Errorf("%s: example has %s, default is %s", e.Key, e.Value, plain.Entries()[i].Value)
		}
		if !strings.HasPrefix(e.Origin, "file ") {
			t.Errorf("%s is not in the example", e.Key)
		}
		if plain.Entries()[i].Origin != "default" {
			t.Errorf("%s is not commented out in the example", e.Key)
		}
	}
}

// Every value that Entries shows can be put into a file and means the same.
func TestEntriesAreTOML(t *testing.T) {
	c := load(t, `
state_dir = "/a \"b\"\\,:\n\u0007\u007f é"
log_max = 65537
cmdline = ["/bin/sh", "", "a b"]
hook_timeouts = { a = 1, "b.mount" = "1.5s" }
`)
	var text strings.Builder
	for _, e := range c.Entries() {
		text.WriteString(e.Key + " = " + e.Value + "\n")
	}
	again := load(t, text.String())
	for i, e := range again.Entries() {
		if e.Value != c.Entries()[i].Value {
			t.Errorf("%s: %s became %s", e.Key, c.Entries()[i].Value, e.Value)
		}
	}
	if again.StateDir != "/a \"b\"\\,:\n\a\x7f é" {
		t.Errorf("state_dir became %q", again.StateDir)
	}
}

func TestManualNamesEveryKey(t *testing.T) {
	text := Manual("1.0")
	for _, s := range settings {
		if !strings.Contains(text, "**"+manEscape(s.key)+"**") {
			t.Errorf("firmwared.toml(5) lacks %s", s.key)
		}
	}
}
