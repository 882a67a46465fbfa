// SPDX-License-Identifier: Apache-2.0

package rename

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestOver(t *testing.T) {
	dir := t.TempDir()
	name, temporary := filepath.Join(dir, "name"), filepath.Join(dir, "temporary")
	for _, content := range []string{"first", "second", "third"} {
		if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := Over(unix.AT_FDCWD, temporary, name); err != nil {
			t.Fatal(err)
		}
		if data, err := os.ReadFile(name); err != nil || string(data) != content {
			t.Errorf("%q, %v instead of %q", data, err, content)
		}
		if _, err := os.Lstat(temporary); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the temporary file stays: %v", err)
		}
	}
	if err := Over(unix.AT_FDCWD, temporary, name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a temporary file: %v", err)
	}
	if data, _ := os.ReadFile(name); string(data) != "third" {
		t.Errorf("a failure left %q", data)
	}
	if err := os.Mkdir(filepath.Join(dir, "directory"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Over(unix.AT_FDCWD, name, filepath.Join(dir, "directory")); !errors.Is(err, unix.EISDIR) {
		t.Errorf("over a directory: %v", err)
	}
	if data, _ := os.ReadFile(name); string(data) != "third" {
		t.Errorf("the failure over a directory left %q", data)
	}
}
