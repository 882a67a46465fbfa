// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

const socketFile = "sock"

// socketPath goes round the limit of 108 bytes for a socket's address, which a
// long --root would pass.
func socketPath(dir *os.File) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), socketFile)
}

// openDir opens an instance's run-time directory to reach what is in it.
func openDir(path string) (*os.File, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("cannot open run-time directory %s: %w", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// listen is for the holder of the lock: a socket that is there is a dead one's.
func listen(dir *os.File) (*net.UnixListener, error) {
	err := unix.Unlinkat(int(dir.Fd()), socketFile, 0)
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return nil, fmt.Errorf("cannot remove old socket in %s: %w", dir.Name(), err)
	}
	address := &net.UnixAddr{Name: socketPath(dir), Net: "unix"}
	listener, err := net.ListenUnix("unix", address)
	if err != nil {
		return nil, fmt.Errorf("cannot listen in %s: %w", dir.Name(), err)
	}
	listener.SetUnlinkOnClose(false)
	if err := unix.Fchmodat(int(dir.Fd()), socketFile, 0o600, 0); err != nil {
		listener.Close()
		_ = unix.Unlinkat(int(dir.Fd()), socketFile, 0)
		return nil, fmt.Errorf("cannot protect socket in %s: %w", dir.Name(), err)
	}
	return listener, nil
}

// dial connects to the supervisor. While the lock is held and nobody listens it
// is starting or ending, so dial tries again until ctx ends. ErrNotRunning once
// the lock is free.
func dial(ctx context.Context, path string) (*net.UnixConn, error) {
	dir, err := openDir(path)
	if errors.Is(err, unix.ENOENT) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		var dialer net.Dialer
		conn, err := dialer.DialContext(ctx, "unix", socketPath(dir))
		if err == nil {
			return conn.(*net.UnixConn), nil
		}
		held, lockErr := lockHeld(path)
		if lockErr != nil {
			return nil, lockErr
		}
		if !held {
			return nil, ErrNotRunning
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cannot reach supervisor: %w", context.Cause(ctx))
		case <-time.After(wait):
		}
	}
}
