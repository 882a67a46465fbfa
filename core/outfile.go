// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"firmwared/core/registry"
)

// writeWhole has write fill the file at path, which is the old one, or none,
// until all of it is on disk. Only its owner may read it: there may be secrets in
// it. A device or fifo there is written to as it is.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		real = path
	}
	info, err := os.Stat(real)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("cannot write %s: it is a directory", quote(path))
	case err == nil && !info.Mode().IsRegular():
		return writeThrough(real, write)
	}
	temporary := filepath.Join(filepath.Dir(real), ".firmwared-"+registry.NewID())
	file, err := os.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", quote(path), cause(err))
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temporary)
		}
	}()
	err = errors.Join(fill(file, write), file.Close())
	if err == nil {
		err = os.Rename(temporary, real)
	}
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", quote(path), cause(err))
	}
	return nil
}

func writeThrough(path string, write func(io.Writer) error) error {
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("cannot write %s: %w", quote(path), cause(err))
	}
	return errors.Join(write(file), file.Close())
}

func fill(file *os.File, write func(io.Writer) error) error {
	w := bufio.NewWriterSize(file, 1<<20)
	if err := write(w); err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return file.Sync()
}
