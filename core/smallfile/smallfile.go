// SPDX-License-Identifier: Apache-2.0

// Package smallfile reads the records of hundreds of instances.
package smallfile

import (
	"bytes"
	"errors"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Read is os.ReadFile in 4 system calls instead of 11: that offers each file to
// the poller first, which takes no regular one.
func Read(path string) ([]byte, error) {
	fd, err := retry(func() (int, error) { return unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0) })
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	var most [1024]byte // on the stack: what is read of hundreds would else be mostly room
	data := most[:0]
	for {
		n, err := retry(func() (int, error) { return unix.Read(fd, data[len(data):cap(data)]) })
		if err != nil {
			return nil, &fs.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return bytes.Clone(data), nil
		}
		if data = data[:len(data)+n]; len(data) == cap(data) {
			data = append(data, 0)[:len(data)]
		}
	}
}

func retry(call func() (int, error)) (n int, err error) {
	for {
		if n, err = call(); !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}
