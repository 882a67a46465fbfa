// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bytes"
	"errors"
	"io"
	"os"
	"strings"
	"unsafe"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"
)

// identity is who pid 1 becomes.
type identity struct {
	uid, gid int
	groups   []int
	home     string
}

// accountsLimit is far above any real passwd or group file.
const accountsLimit = 4 << 20

// resolveUser reads the instance's own accounts.
func (s *initStage) resolveUser() error {
	passwd, err := readAccounts("etc/passwd")
	if err != nil {
		return err
	}
	group, err := readAccounts("etc/group")
	if err != nil {
		return err
	}
	s.user, err = findUser(s.spec.User, passwd, group)
	return stage("find user", s.spec.User, err)
}

func findUser(name string, passwd, group []byte) (identity, error) {
	if name == "" {
		name = "0:0"
	}
	defaults := &user.ExecUser{Home: "/"}
	found, err := user.GetExecUser(name, defaults, bytes.NewReader(passwd), bytes.NewReader(group))
	if err != nil {
		return identity{}, err
	}
	home := found.Home
	if !strings.HasPrefix(home, "/") {
		home = "/"
	}
	return identity{uid: found.Uid, gid: found.Gid, groups: found.Sgids, home: home}, nil
}

// readAccounts gives nothing for a file that is missing, or is something other
// than a file: a firmware could have put a fifo there.
func readAccounts(path string) ([]byte, error) {
	fd, err := openInRoot(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY)
	if err != nil {
		return nil, nil
	}
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	info, err := file.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return nil, nil
	}
	data, err := io.ReadAll(io.LimitReader(file, accountsLimit+1))
	if err != nil {
		return nil, stage("read", "/"+path, err)
	}
	if len(data) > accountsLimit {
		return nil, stage("read", "/"+path, errors.New("larger than 4 MiB"))
	}
	return data, nil
}

// dropPrivileges makes the thread the user it is to be. Its own stdio is given
// to that user, or opening /dev/stdout would be refused.
func (s *initStage) dropPrivileges() error {
	uid := s.user.uid
	if s.entersUserNS {
		uid += s.spec.rootUID()
	}
	if uid != 0 {
		for fd := range 3 {
			if err := unix.Fchown(fd, uid, -1); err != nil {
				return stage("own", "stdio", err)
			}
		}
	}
	if s.entersUserNS { // the rest is the command's own process's: see joining
		return s.spec.Confine.restrictCalls()
	}
	if err := s.spec.Confine.restrict(s.caps); err != nil {
		return err
	}
	if err := s.user.assume(); err != nil {
		return stage("become user", s.spec.User, err)
	}
	// A change of credentials clears it (prctl(2)).
	err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0)
	return stage("set", "parent-death signal", err)
}

// assume uses raw system calls: those of package syscall act on all threads of
// the program, and this one is about to be the only one.
func (u identity) assume() error {
	groups := make([]uint32, len(u.groups)+1)
	for i, g := range u.groups {
		groups[i] = uint32(g)
	}
	n := uintptr(len(u.groups))
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, n, uintptr(unsafe.Pointer(&groups[0])), 0); errno != 0 {
		return errno
	}
	gid, uid := uintptr(u.gid), uintptr(u.uid)
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, gid, gid, gid); errno != 0 {
		return errno
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uid, uid, uid); errno != 0 {
		return errno
	}
	return nil
}

// enterCwd comes after the change of user, who must be allowed to be there.
func (s *initStage) enterCwd() error {
	cwd := s.spec.Cwd
	if cwd == "" {
		cwd = "/"
	}
	if err := unix.Chdir(cwd); err != nil {
		return stage("enter working directory", cwd, err)
	}
	// A directory outside the root is shown by getcwd(2) as "(unreachable)"
	// (CVE-2024-21626).
	var buf [unix.PathMax]byte
	n, err := unix.Getcwd(buf[:])
	if err == nil && (n == 0 || buf[0] != '/') {
		err = errors.New("it is outside the instance")
	}
	return stage("enter working directory", cwd, err)
}
