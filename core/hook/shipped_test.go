// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const shipped = "../../hooks"

// rows are the cells of a document's table of variables.
func rows(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(shipped, "CONTRACT.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.SplitN(strings.Trim(line, "| \n"), " | ", 3)
		if name := strings.Trim(cells[0], "`"); strings.HasPrefix(name, "FIRMWARED_") && len(cells) == 3 {
			out[name] = cells[1:]
		}
	}
	return out
}

// TestContractDocument compares the document for authors of hooks with the table, both ways.
func TestContractDocument(t *testing.T) {
	documented := rows(t)
	for _, v := range Variables() {
		row, ok := documented[v.Name]
		if !ok {
			t.Errorf("%s is not in CONTRACT.md", v.Name)
			continue
		}
		delete(documented, v.Name)
		if words := strings.Split(row[0], ", "); !slices.Equal(words, v.For) {
			t.Errorf("%s is for %v here, for %v in CONTRACT.md", v.Name, v.For, words)
		}
		for _, word := range v.Kind.OneOf {
			if !strings.Contains(row[1], "`"+word+"`") {
				t.Errorf("CONTRACT.md does not say that %s may be %s", v.Name, word)
			}
		}
	}
	for name := range documented {
		t.Errorf("CONTRACT.md has %s, which is unknown here", name)
	}
}

// TestShippedHooksDescribe runs copies that are root's, whoever the source tree belongs to.
func TestShippedHooksDescribe(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "hooks")
	if err := os.CopyFS(dir, os.DirFS(shipped)); err != nil {
		t.Fatal(err)
	}
	r := testRunner(t)
	r.Lib = dir
	hooks, problems := Dirs{dir}.List()
	if len(hooks) == 0 || len(problems) > 0 {
		t.Fatalf("%d hooks, %v", len(hooks), problems)
	}
	for _, h := range hooks {
		d, err := r.Describe(t.Context(), h)
		if err != nil {
			t.Error(err)
		} else if d.Summary == "" || len(d.Requires) == 0 {
			t.Errorf("%s: %+v", h.Path, d)
		}
	}
}
