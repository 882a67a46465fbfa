// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

const (
	attrsData = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC
	attrsDev  = unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NOEXEC
)

// devNodes are the only devices an instance is born with: none reaches hardware
// or the host.
var devNodes = []struct {
	name         string
	major, minor uint32
}{
	{"null", 1, 3},
	{"zero", 1, 5},
	{"full", 1, 7},
	{"random", 1, 8},
	{"urandom", 1, 9},
	{"tty", 5, 0},
}

var devLinks = []struct{ name, to string }{
	{"fd", "/proc/self/fd"},
	{"stdin", "/proc/self/fd/0"},
	{"stdout", "/proc/self/fd/1"},
	{"stderr", "/proc/self/fd/2"},
	{"ptmx", "pts/ptmx"},
}

var ptsOptions = []string{"newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}

// mountAPI mounts what Spec.APIMounts asks for. /dev is filled while nothing of
// the instance runs, and by descriptor.
func (s *initStage) mountAPI() error {
	// Modes below are meant as written; the umask is set before the program.
	unix.Umask(0)
	if s.apiMounts() == APIMountsNone {
		return nil
	}
	if err := s.mountDev(); err != nil {
		return err
	}
	if s.apiMounts() == APIMountsDev {
		return nil
	}
	if err := attachOn(s.proc, "proc", "/proc"); err != nil {
		return err
	}
	defer unix.Close(s.sys)
	return attachOn(s.sys, "sysfs", "/sys")
}

// makeDev makes the file system that becomes /dev, with its nodes. In a user
// namespace nodes cannot be made, and those in a tmpfs that was mounted there do
// not act (SB_I_NODEV), so then the caller of Start does it.
func (s *Spec) makeDev() (_ int, err error) {
	dev, err := newFS("tmpfs", attrsDev, "mode=0755", "size=4m", "nr_inodes=4096")
	if err != nil {
		return -1, stage("make", "/dev", err)
	}
	defer func() {
		if err != nil {
			unix.Close(dev)
		}
	}()
	owner := s.rootUID()
	if err := unix.Fchownat(dev, "", owner, owner, unix.AT_EMPTY_PATH); err != nil {
		return -1, stage("own", "/dev", err)
	}
	for _, node := range devNodes {
		if err := makeNode(dev, node.name, unix.S_IFCHR|0o666, unix.Mkdev(node.major, node.minor), owner); err != nil {
			return -1, stage("make", "/dev/"+node.name, err)
		}
	}
	for _, lent := range s.Confine.Devices {
		if err := makeLent(dev, lent, owner); err != nil {
			return -1, stage("make", "/dev/"+lent.Path, err)
		}
	}
	return dev, nil
}

func (s *initStage) mountDev() (err error) {
	dev := s.dev
	if dev < 0 {
		if dev, err = s.spec.makeDev(); err != nil {
			return err
		}
	}
	defer unix.Close(dev)
	if err := attachOn(dev, "tmpfs", "/dev"); err != nil {
		return err
	}
	for _, link := range devLinks {
		if err := unix.Symlinkat(link.to, dev, link.name); err != nil {
			return stage("make", "/dev/"+link.name, err)
		}
	}
	if err := mountInDev(dev, "tmpfs", "shm", attrsData, "mode=1777"); err != nil {
		return err
	}
	err = mountInDev(dev, "mqueue", "mqueue", attrsData)
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return err
	}
	if err := mountInDev(dev, "devpts", "pts", attrsDev, ptsOptions...); err != nil {
		return err
	}
	return s.makeConsole(dev)
}

func makeNode(dir int, name string, mode uint32, rdev uint64, owner int) error {
	if err := unix.Mknodat(dir, name, mode, int(rdev)); err != nil {
		return err
	}
	// The caller's umask may have taken bits; it belongs to the whole program.
	if err := unix.Fchmodat(dir, name, mode&0o777, 0); err != nil {
		return err
	}
	if err := unix.Fchownat(dir, name, owner, owner, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dir, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != mode&unix.S_IFMT || st.Rdev != rdev {
		return fmt.Errorf("asked for device %d:%d, found mode %o and device %d:%d",
			unix.Major(rdev), unix.Minor(rdev), st.Mode, unix.Major(st.Rdev), unix.Minor(st.Rdev))
	}
	return nil
}

// mountInDev makes the directory name only when the kernel has fstype.
func mountInDev(dev int, fstype, name string, attr int, options ...string) error {
	tree, err := newFS(fstype, attr, options...)
	if err != nil {
		return stage("mount "+fstype+" on", "/dev/"+name, err)
	}
	defer unix.Close(tree)
	if err := unix.Mkdirat(dev, name, 0o755); err != nil {
		return stage("make", "/dev/"+name, err)
	}
	at, err := unix.Openat(dev, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return stage("open", "/dev/"+name, err)
	}
	defer unix.Close(at)
	return stage("mount "+fstype+" on", "/dev/"+name, attach(tree, at))
}
