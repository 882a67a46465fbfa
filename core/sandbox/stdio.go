// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// openStdio returns the three files that the init stage is born with. With a
// terminal they are /dev/null until the pty exists.
func (p *Process) openStdio(spec *Spec) (stdio []*os.File, err error) {
	if spec.Terminal {
		for range 3 {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				closeAll(stdio)
				return nil, fmt.Errorf("cannot open null device: %w", err)
			}
			stdio = append(stdio, null)
		}
		return stdio, nil
	}
	for i, ours := range []**os.File{&p.Stdin, &p.Stdout, &p.Stderr} {
		own, theirs, err := pipe(i == 0)
		if err != nil {
			closeAll(stdio)
			return nil, err
		}
		*ours, stdio = own, append(stdio, theirs)
		// Reopened by name, as /dev/stdout, it goes by its owner.
		if uid := spec.rootUID(); uid != 0 {
			if err := theirs.Chown(uid, uid); err != nil {
				closeAll(stdio)
				return nil, fmt.Errorf("cannot make pipe: %w", err)
			}
		}
	}
	return stdio, nil
}

// pipe makes the caller's end non-blocking, for deadlines, and leaves pid 1's
// blocking, as programs expect. The flag belongs to each end by itself.
func pipe(input bool) (ours, theirs *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	own, other := fds[0], fds[1]
	if input {
		own, other = other, own
	}
	if err := unix.SetNonblock(own, true); err != nil {
		unix.Close(own)
		unix.Close(other)
		return nil, nil, fmt.Errorf("cannot make pipe: %w", err)
	}
	return os.NewFile(uintptr(own), "pipe"), os.NewFile(uintptr(other), "pipe"), nil
}

// openConsole takes the master that the stage just sent.
func (p *Process) openConsole(reader *stageReader) error {
	fd, err := reader.takeFD()
	if err != nil {
		return stage("open", "/dev/console", err)
	}
	peer := -1
	if err = checkMaster(fd); err == nil {
		peer, err = openPeer(fd)
	}
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		unix.Close(fd)
		return stage("open", "/dev/console", err)
	}
	p.Console = os.NewFile(uintptr(fd), "console")
	p.peer = os.NewFile(uintptr(peer), "console peer")
	return nil
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
