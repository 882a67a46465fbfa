// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"firmwared/core/fault"
)

// Main is the init stage, and the stage of Enter. It never returns: it becomes
// the instance's program, or is a command's parent until that ends, or reports
// why not and exits.
//
// Namespaces of a thread, credentials, capabilities and the parent-death signal
// belong to one thread each, and the one that calls execve becomes pid 1's only
// one: so all is done on one thread, by system calls that touch that thread
// alone.
func Main() {
	runtime.LockOSThread()
	unix.CloseOnExec(controlFD)
	err := becomeInit()
	if !errors.Is(err, errOrphan) {
		// When nobody listens there is nobody else to tell.
		_ = tellStart(stageMessage{Failure: PackError(err)}, -1)
	}
	os.Exit(1)
}

// errOrphan: the supervisor died, so nobody is there to tell.
var errOrphan = errors.New("the supervisor is gone")

func becomeInit() error {
	order, err := readOrder()
	if err != nil {
		return err
	}
	fault.Point("init.told")
	s := &initStage{spec: &order.Spec, slave: -1, dev: -1, proc: -1, sys: -1}
	if order.Enter != nil {
		return s.enterInstance(order.Enter)
	}
	s.takePassed()
	for _, step := range []func() error{
		s.loadCaps,
		s.enterNamespaces,
		s.makeKernelFS,
		s.pivot,
		s.mountAPI,
		s.openTerminal,
		s.attachBinds,
		s.nameHost,
		s.raiseLoopback,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return s.confineAndExec(s.exec)
}

// initStage is what the steps hand on to each other.
type initStage struct {
	spec  *Spec
	caps  *boundCaps
	binds []int
	slave int
	dev   int // made by the caller, for a user namespace
	proc  int // a procfs of the instance's pid namespace, by its root
	sys   int

	entersUserNS bool // the stage of a command in an instance with a user namespace
	user         identity
}

func readOrder() (*stageOrder, error) {
	control := bufio.NewReader(controlReader{})
	line, err := control.ReadBytes('\n')
	if err != nil {
		// Not told a whole spec: whoever started this is gone, or is not Start.
		return nil, errOrphan
	}
	order := new(stageOrder)
	if err := json.Unmarshal(line, order); err != nil {
		return nil, stage("understand", "spec", err)
	}
	if err := CheckBuild(order.Build); err != nil {
		return nil, stage("understand", "spec", err)
	}
	return order, order.Spec.Validate()
}

func (s *initStage) loadCaps() (err error) {
	s.caps, err = loadCaps()
	return stage("read", "capabilities", err)
}

func (s *initStage) enterNamespaces() error {
	// clone(CLONE_NEWCGROUP) would take the parent's group for the root
	// (copy_cgroup_ns), so this comes when the process is in its own.
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil && !errors.Is(err, unix.EINVAL) {
		return stage("unshare", "cgroup namespace", err)
	}
	return s.leaveKeyring()
}

// leaveKeyring: the caller's session keyring would otherwise be the instance's.
// Without a name the new one is never one that exists already.
func (s *initStage) leaveKeyring() error {
	_, err := unix.KeyctlInt(unix.KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0)
	if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
		return stage("join", "new session keyring", err)
	}
	return nil
}

func (s *initStage) nameHost() error {
	fault.Point("init.pivoted")
	if s.spec.Hostname == "" {
		return nil
	}
	return stage("set hostname", s.spec.Hostname, unix.Sethostname([]byte(s.spec.Hostname)))
}

// raiseLoopback: the kernel gives lo its addresses when it comes up.
func (s *initStage) raiseLoopback() error {
	if s.spec.Net == NetHost {
		return nil
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if errors.Is(err, unix.EAFNOSUPPORT) {
		return nil
	}
	if err != nil {
		return stage("raise", "lo", err)
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return stage("raise", "lo", err)
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, lo); err != nil {
		return stage("raise", "lo", err)
	}
	lo.SetUint16(lo.Uint16() | unix.IFF_UP)
	return stage("raise", "lo", unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
}
