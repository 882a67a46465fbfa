// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

const lockFile = "alive"

// takeLock makes the directory and takes the instance's lock, which lasts until
// every descriptor of the returned file is closed, in this process or in one
// that it was passed to.
func takeLock(dir string) (*os.File, error) {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("cannot make run-time directory: %w", err)
	}
	return lockIn(dir, os.O_CREATE)
}

// takeExistingLock gives nil and no error when there is nothing to lock or
// somebody holds it.
func takeExistingLock(dir string) (*os.File, error) {
	file, err := lockIn(dir, 0)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrRunning) {
		return nil, nil
	}
	return file, err
}

func lockIn(dir string, flags int) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|unix.O_NOFOLLOW|flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open lock: %w", err)
	}
	lock := wholeFile()
	err = unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &lock)
	if err == nil {
		return file, nil
	}
	file.Close()
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return nil, ErrRunning
	}
	return nil, fmt.Errorf("cannot lock %s: %w", file.Name(), err)
}

// unlock gives a lock back that no other process was meant to have. To close the file
// is not enough: a child that another goroutine is starting has it, too, until it
// has come to its execve(2).
func unlock(file *os.File) {
	free := wholeFile()
	free.Type = unix.F_UNLCK
	_ = unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &free)
	file.Close()
}

func lockHeld(dir string) (bool, error) {
	path := filepath.Join(dir, lockFile)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("cannot open lock %s: %w", path, err)
	}
	defer unix.Close(fd)
	lock := wholeFile()
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock); err != nil {
		return false, fmt.Errorf("cannot query lock %s: %w", path, err)
	}
	return lock.Type != unix.F_UNLCK, nil
}

func wholeFile() unix.Flock_t {
	return unix.Flock_t{Type: unix.F_WRLCK, Whence: unix.SEEK_SET}
}
