// SPDX-License-Identifier: Apache-2.0

// Package rename puts files in the place of others.
package rename

import (
	"errors"

	"golang.org/x/sys/unix"
)

// Over puts the file temporary in the place of name, which readers find with its
// old content or the new. Both are relative to the open directory dir, or
// unix.AT_FDCWD. It is for files that need not survive a power cut: when a file is
// renamed over another one, the usual file systems write it to the disk at once, for
// those who forgot to sync (the mount option auto_da_alloc); not when the two are
// exchanged. A process that is killed here may leave the old content as temporary.
func Over(dir int, temporary, name string) error {
	err := unix.Renameat2(dir, temporary, dir, name, unix.RENAME_EXCHANGE)
	if err == nil {
		if err = unix.Unlinkat(dir, temporary, 0); err != nil { // a directory had that name
			err = errors.Join(err, unix.Renameat2(dir, temporary, dir, name, unix.RENAME_EXCHANGE))
		}
		return err
	}
	// Nothing to exchange it with, or a file system that cannot.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOSYS) {
		err = unix.Renameat(dir, temporary, dir, name)
	}
	return err
}
