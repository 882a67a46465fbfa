// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"fmt"
	"slices"
	"strings"

	"github.com/moby/sys/capability"
)

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
	capability.CAP_AUDIT_READ,
	capability.CAP_WAKE_ALARM,
	capability.CAP_BLOCK_SUSPEND,
}

// DeniedCaps names the capabilities that an instance does not have by default,
// as Confinement does.
func DeniedCaps() []string {
	names := make([]string, len(deniedCaps))
	for i, c := range deniedCaps {
		names[i] = strings.ToLower(strings.TrimPrefix(c.String(), "CAP_"))
	}
	return names
}

// ParseCap finds a capability by its name, in any case, with "cap_" or without.
func ParseCap(name string) (capability.Cap, error) {
	plain := strings.TrimPrefix(strings.ToLower(name), "cap_")
	for _, c := range capability.ListKnown() {
		if strings.TrimPrefix(strings.ToLower(c.String()), "cap_") == plain {
			return c, nil
		}
	}
	return 0, fmt.Errorf("%q is no capability (capabilities(7) lists them)", name)
}

// deniedBy is the default set of denied capabilities as c changes it.
func deniedBy(c *Confinement) ([]capability.Cap, error) {
	denied := slices.Clone(deniedCaps)
	for _, name := range c.CapsAdd {
		added, err := ParseCap(name)
		if err != nil {
			return nil, err
		}
		denied = slices.DeleteFunc(denied, func(c capability.Cap) bool { return c == added })
	}
	for _, name := range c.CapsDrop {
		dropped, err := ParseCap(name)
		if err != nil {
			return nil, err
		}
		denied = append(denied, dropped)
	}
	return denied, nil
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
func (b *boundCaps) drop(by *Confinement) error {
	for c := capability.Cap(0); c <= b.last; c++ {
		b.caps.Unset(capability.INHERITABLE|capability.AMBIENT, c)
	}
	if !by.None {
		denied, err := deniedBy(by)
		if err != nil {
			return err
		}
		b.caps.Unset(capability.EFFECTIVE|capability.PERMITTED|capability.BOUNDING, denied...)
	}
	return b.caps.Apply(capability.CAPS | capability.BOUNDS | capability.AMBS)
}
