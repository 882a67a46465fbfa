// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestPointsAreAllListed compares the list with the calls in the sources.
func TestPointsAreAllListed(t *testing.T) {
	list, err := os.ReadFile("points.go")
	if err != nil {
		t.Fatal(err)
	}
	listed := find(string(list), `(?m)^\t"([^"]+)",$`)
	var called []string
	err = filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") {
			return err
		}
		source, err := os.ReadFile(path)
		called = append(called, find(string(source), `fault\.Point\("([^"]+)"\)`)...)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(called)
	if len(called) < 40 || !slices.Equal(listed, called) {
		t.Errorf("listed, in order and once:\n%v\ncalled:\n%v", listed, called)
	}
}

func find(text, pattern string) (found []string) {
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
		found = append(found, match[1])
	}
	return found
}
