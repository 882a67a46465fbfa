// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"

	"golang.org/x/sys/unix"
)

// openMaster opens a new pty of the devpts that pts is the root of. The ptmx
// node is reached through that descriptor and then checked, so nothing in the
// instance's tree can put another device in its place (CVE-2025-52565).
func openMaster(pts int) (int, error) {
	fd, err := unix.Openat(pts, "ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return -1, err
	}
	err = checkMaster(fd)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		unix.Close(fd)
		return -1, err
	}
	return fd, nil
}

func checkMaster(fd int) error {
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if fs.Type != unix.DEVPTS_SUPER_MAGIC || st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != unix.Mkdev(5, 2) {
		return errors.New("not a pty master")
	}
	return nil
}

// openPeer opens the slave without any path (Linux 4.13).
func openPeer(master int) (int, error) {
	flags := uintptr(unix.O_RDWR | unix.O_NOCTTY | unix.O_CLOEXEC)
	fd, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(master), unix.TIOCGPTPEER, flags)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// plainOutput turns off what a terminal does to bytes on their way, for a
// console that nobody types at.
func plainOutput(slave int) error {
	termios, err := unix.IoctlGetTermios(slave, unix.TCGETS)
	if err != nil {
		return err
	}
	termios.Oflag &^= unix.OPOST
	termios.Lflag &^= unix.ECHO
	return unix.IoctlSetTermios(slave, unix.TCSETS, termios)
}
