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
	if s.spec.apiMounts() == APIMountsNone {
		return nil
	}
	if err := s.mountDev(); err != nil {
		return err
	}
	if s.spec.apiMounts() == APIMountsDev {
		return nil
	}
	if err := s.mountProc(); err != nil {
		return err
	}
	sys, err := mountOn("sysfs", "/sys", attrsData|unix.MOUNT_ATTR_RDONLY)
	if err != nil {
		return err
	}
	return unix.Close(sys)
}

// makeProc makes the procfs of the instance's pid namespace. It is kept by
// descriptor, for what must not go by a path that the firmware could have bent.
func (s *initStage) makeProc() (err error) {
	s.proc, err = newFS("proc", attrsData)
	return stage("make", "procfs", err)
}

func (s *initStage) mountProc() error {
	at, err := mountPoint("/proc")
	if err != nil {
		return stage("mount proc on", "/proc", err)
	}
	defer unix.Close(at)
	return stage("mount proc on", "/proc", attach(s.proc, at))
}

func (s *initStage) mountDev() error {
	dev, err := mountOn("tmpfs", "/dev", attrsDev, "mode=0755", "size=4m", "nr_inodes=4096")
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	for _, node := range devNodes {
		if err := makeNode(dev, node.name, unix.Mkdev(node.major, node.minor)); err != nil {
			return stage("make", "/dev/"+node.name, err)
		}
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

func makeNode(dev int, name string, rdev uint64) error {
	if err := unix.Mknodat(dev, name, unix.S_IFCHR|0o666, int(rdev)); err != nil {
		return err
	}
	var st unix.Stat_t
	if err := unix.Fstatat(dev, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFCHR || st.Rdev != rdev {
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
