// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"

	"golang.org/x/sys/unix"

	"firmwared/core/apparmor"
)

// Confinement is what a program of an instance runs under, besides its
// namespaces and its cgroup: pid 1 and what is executed beside it. It travels as
// JSON. The zero value is the default capabilities and the seccomp filter.
type Confinement struct {
	// None leaves the program all that the caller may do. The rest is ignored.
	None bool `json:"none,omitempty"`
	// Profile is the loaded AppArmor profile to enter at execve; "" none.
	Profile string `json:"profile,omitempty"`
	// CapsAdd and CapsDrop change the default set of capabilities: names as in
	// capabilities(7), in lower case and without "cap_". Dropping wins.
	CapsAdd  []string `json:"caps_add,omitempty"`
	CapsDrop []string `json:"caps_drop,omitempty"`
	// SocketCall leaves 32-bit x86 programs socketcall(2), by which they can make
	// vsock sockets where there is no profile.
	SocketCall bool `json:"socketcall,omitempty"`
	// Devices are lent besides those that every instance has (DeviceRules).
	Devices []LentDevice `json:"devices,omitempty"`
}

func (c *Confinement) validate() error {
	_, err := deniedBy(c)
	return err
}

// restrict takes from the thread what it must not have: system calls, then
// capabilities, because a filter without no_new_privs, which would end all setuid
// programs, needs CAP_SYS_ADMIN. It comes before the change of user.
func (c *Confinement) restrict(caps *boundCaps) error {
	if err := c.restrictCalls(); err != nil {
		return err
	}
	return stage("drop", "capabilities", caps.drop(c))
}

func (c *Confinement) restrictCalls() error {
	if c.None {
		return nil
	}
	return stage("load", "seccomp filter", c.filterCalls())
}

// enterProfile makes the next execve of the thread enter the profile. It comes
// last. proc is the root of a procfs of the thread's pid namespace.
func (c *Confinement) enterProfile(proc int) error {
	// A command's copy of the stage is in the instance before it has executed
	// anything, and must not bring this along.
	defer unix.Close(proc)
	if c.None || c.Profile == "" {
		return nil
	}
	return stage("confine", "the program", apparmor.EnterAtExec(proc, c.Profile))
}

// checkProfile is the supervisor's look at a program that runs. One that is dead
// by then has no label.
func (c *Confinement) checkProfile(pid, pidfd int) error {
	if c.None || c.Profile == "" {
		return nil
	}
	err := apparmor.CheckLabel(pid, c.Profile)
	if err != nil && errors.Is(unix.PidfdSendSignal(pidfd, 0, nil, 0), unix.ESRCH) {
		return nil
	}
	return stage("confine", "pid 1", err)
}
