// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// input reads a file until it is told to stop, without having taken a byte too
// many: a goroutine left in read(2) on a terminal would swallow the next key the
// person types at the shell.
type input struct {
	fd      int
	wake    [2]int
	once    sync.Once
	stopped chan struct{}
}

func newInput(file *os.File) (*input, error) {
	in := &input{fd: int(file.Fd()), stopped: make(chan struct{})}
	if err := unix.Pipe2(in.wake[:], unix.O_CLOEXEC); err != nil {
		return nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	return in, nil
}

// read ends with io.EOF at the file's end and after stop.
func (in *input) read(p []byte) (int, error) {
	fds := []unix.PollFd{
		{Fd: int32(in.fd), Events: unix.POLLIN},
		{Fd: int32(in.wake[0]), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds, -1)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if fds[1].Revents != 0 {
			return 0, io.EOF
		}
		n, err := unix.Read(in.fd, p)
		switch {
		case errors.Is(err, unix.EINTR) || errors.Is(err, unix.EAGAIN):
			continue
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		}
		return n, nil
	}
}

func (in *input) stop() {
	in.once.Do(func() {
		close(in.stopped)
		unix.Close(in.wake[1])
	})
}

// close is for when no read is under way.
func (in *input) close() {
	unix.Close(in.wake[0])
}
