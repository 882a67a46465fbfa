// SPDX-License-Identifier: Apache-2.0

// Package dirlock keeps a directory that the whole machine shares to one process.
package dirlock

import (
	"os"

	"golang.org/x/sys/unix"
)

// Lock makes the directory if it is missing, and waits for the lock. It is for as
// long as a few links take: nothing bounds the wait.
func Lock(path string) (unlock func(), err error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	dir, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(dir.Fd()), unix.LOCK_EX); err != nil {
		dir.Close()
		return nil, err
	}
	return func() {
		// A child that another goroutine is starting has the file, too, until its execve.
		_ = unix.Flock(int(dir.Fd()), unix.LOCK_UN)
		dir.Close()
	}, nil
}
