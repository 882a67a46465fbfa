// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"golang.org/x/sys/unix"
)

// makeConsole gives the instance a /dev/console: a pty whose master is the
// supervisor's. Without Spec.Terminal it is not pid 1's stdio, but inits write
// their messages to it all the same, and nobody answers.
func (s *initStage) makeConsole(dev int) error {
	pts, err := unix.Openat(dev, "pts", unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return stage("open", "/dev/pts", err)
	}
	defer unix.Close(pts)
	if err := s.openPty(pts); err != nil {
		return err
	}
	at, err := unix.Openat(dev, "console", unix.O_RDONLY|unix.O_CREAT|unix.O_EXCL|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return stage("make", "/dev/console", err)
	}
	defer unix.Close(at)
	tree, err := unix.OpenTree(s.slave, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_EMPTY_PATH)
	if err != nil {
		return stage("bind", "/dev/console", err)
	}
	defer unix.Close(tree)
	return stage("bind", "/dev/console", attach(tree, at))
}

// openPty makes the pty in the devpts whose root is pts and hands its master to
// Start.
func (s *initStage) openPty(pts int) error {
	master, err := openMaster(pts)
	if err != nil {
		return stage("open", "pty master", err)
	}
	defer unix.Close(master)
	if s.slave, err = openPeer(master); err != nil {
		return stage("open", "pty", err)
	}
	if !s.spec.Terminal {
		err = plainOutput(s.slave)
	} else if s.spec.Rows > 0 && s.spec.Cols > 0 {
		size := &unix.Winsize{Row: s.spec.Rows, Col: s.spec.Cols}
		err = unix.IoctlSetWinsize(master, unix.TIOCSWINSZ, size)
	}
	if err != nil {
		return stage("set up", "pty", err)
	}
	return stage("pass on", "pty master", tellStart(stageMessage{Console: true}, master))
}

// openTerminal makes the pty pid 1's stdio and controlling terminal. Where /dev
// is the program's own business, the pty comes from a devpts that is mounted
// nowhere and lives as long as it is open.
func (s *initStage) openTerminal() error {
	if !s.spec.Terminal {
		return nil
	}
	if s.slave < 0 {
		if err := s.openOwnPty(); err != nil {
			return err
		}
	}
	if err := s.ptyAsStdio(); err != nil {
		return err
	}
	// The process leads a new session: SysProcAttr.Setsid.
	return stage("set", "controlling terminal", unix.IoctlSetInt(0, unix.TIOCSCTTY, 0))
}

func (s *initStage) openOwnPty() error {
	pts, err := newFS("devpts", attrsDev, ptsOptions...)
	if err != nil {
		return stage("make", "devpts", err)
	}
	defer unix.Close(pts)
	return s.openPty(pts)
}

func (s *initStage) ptyAsStdio() error {
	for fd := range 3 {
		if err := unix.Dup3(s.slave, fd, 0); err != nil {
			return stage("set up", "stdio", err)
		}
	}
	return nil
}
