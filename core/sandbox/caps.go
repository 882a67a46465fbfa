// SPDX-License-Identifier: Apache-2.0

package sandbox

import "github.com/moby/sys/capability"

// deniedCaps reach the machine itself, whatever namespaces a process is in. Not
// here: sys_boot, because reboot(2) in a pid namespace ends that namespace only
// and inits use it, and sys_admin, because inits mount.
var deniedCaps = []capability.Cap{
	capability.CAP_SYS_MODULE,
	capability.CAP_SYS_RAWIO,
	capability.CAP_SYS_TIME,
	capability.CAP_MAC_ADMIN,
	capability.CAP_MAC_OVERRIDE,
	capability.CAP_SYSLOG,
	capability.CAP_BPF,
	capability.CAP_PERFMON,
	capability.CAP_AUDIT_CONTROL,
	capability.CAP_WAKE_ALARM,
	capability.CAP_BLOCK_SUSPEND,
}

// boundCaps is what the thread may do now.
type boundCaps struct {
	caps capability.Capabilities
	last capability.Cap
}

// loadCaps reads /proc, so it comes while that is certain to be the host's.
func loadCaps() (*boundCaps, error) {
	caps, err := capability.NewPid2(0)
	if err != nil {
		return nil, err
	}
	if err := caps.Load(); err != nil {
		return nil, err
	}
	last, err := capability.LastCap()
	if err != nil {
		return nil, err
	}
	return &boundCaps{caps, last}, nil
}

// drop takes the denied ones from every set, bounding included: no program that
// is executed later gets them back. Inheritable and ambient ones end in any
// case.
func (b *boundCaps) drop(unconfined bool) error {
	for c := capability.Cap(0); c <= b.last; c++ {
		b.caps.Unset(capability.INHERITABLE|capability.AMBIENT, c)
	}
	if !unconfined {
		b.caps.Unset(capability.EFFECTIVE|capability.PERMITTED|capability.BOUNDING, deniedCaps...)
	}
	return b.caps.Apply(capability.CAPS | capability.BOUNDS | capability.AMBS)
}
