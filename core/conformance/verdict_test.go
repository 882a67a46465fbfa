// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestVerdictForms(t *testing.T) {
	for _, test := range []struct {
		v         Verdict
		text, tap string
	}{
		{Verdict{"a", OK, "is so", ""}, "ok    a                      is so", "ok 7 - a"},
		{Verdict{"a", Skip, "is so", "no layer"}, "skip  a                      no layer", "ok 7 - a # SKIP no layer"},
		{Verdict{"a", Fail, "is so", "it is not"}, "FAIL  a                      is so: it is not", "not ok 7 - a\n  # is so: it is not"},
		{Verdict{"a", Warn, "is so", "it is not"}, "warn  a                      is so: it is not", "not ok 7 - a # TODO it is not"},
	} {
		if text, tap := test.v.String(), test.v.TAP(7); text != test.text || tap != test.tap {
			t.Errorf("%q, %q; want %q, %q", text, tap, test.text, test.tap)
		}
	}
	text, failed := Sum([]Verdict{{Result: OK}, {Clause: "x", Result: Fail}, {Result: Warn}, {Result: Skip}})
	if want := "4 clauses: 1 ok, 1 failed, 1 warnings, 1 skipped; failed: x"; text != want || !failed {
		t.Errorf("Sum = %q, %v; want %q", text, failed, want)
	}
}

// TestClauseDocument compares the table with the one in CONTRACT.md, both ways.
func TestClauseDocument(t *testing.T) {
	text, err := os.ReadFile("../../hooks/CONTRACT.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "| clause | ")
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\| (.*) \\|$").FindAllStringSubmatch(section, -1) {
		documented[row[1]] = row[2]
	}
	for _, c := range Clauses() {
		want := c.Text
		if c.Should {
			want += " (a warning)"
		}
		if documented[c.Name] != want {
			t.Errorf("CONTRACT.md says of %s: %q, not %q", c.Name, documented[c.Name], want)
		}
		delete(documented, c.Name)
		if strings.ContainsAny(c.Text, "#|\n") {
			t.Errorf("the text of %s would be misread in TAP or in a table", c.Name)
		}
	}
	for name := range documented {
		t.Errorf("CONTRACT.md has a clause %s, which does not exist", name)
	}
	if last := clauses[len(clauses)-1].Name; last != "time-limits" {
		t.Errorf("%s is last, after time-limits, which judges the calls before it", last)
	}
}

func TestDiffer(t *testing.T) {
	dir := t.TempDir()
	for name, change := range map[string]func() error{
		`"a" is gone`:         func() error { return os.Remove(filepath.Join(dir, "a")) },
		`"b" is new`:          func() error { return writeFile(filepath.Join(dir, "b"), "b") },
		`"dir/c" was changed`: func() error { return writeFile(filepath.Join(dir, "dir/c"), "other") },
		`"link" was changed`: func() error {
			return os.Rename(filepath.Join(dir, "link2"), filepath.Join(dir, "link"))
		},
	} {
		_ = os.Remove(filepath.Join(dir, "b"))
		for _, file := range []string{"a", "dir/c"} {
			if err := writeFile(filepath.Join(dir, file), "text"); err != nil {
				t.Fatal(err)
			}
		}
		_ = os.Remove(filepath.Join(dir, "link"))
		if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
			t.Fatal(err)
		}
		_ = os.Remove(filepath.Join(dir, "link2"))
		if err := os.Symlink("dir", filepath.Join(dir, "link2")); err != nil {
			t.Fatal(err)
		}
		before, err := snapshot(dir, filepath.Join(dir, "link2"))
		if err != nil {
			t.Fatal(err)
		}
		if err := differ(before, before); err != nil {
			t.Error(err)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		after, err := snapshot(dir, filepath.Join(dir, "link2"))
		if err != nil {
			t.Fatal(err)
		}
		if err := differ(before, after); err == nil || err.Error() != name {
			t.Errorf("%v, want %s", err, name)
		}
	}
}
