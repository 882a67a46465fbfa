// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
)

// LentDevice is a device of the host that an instance may use.
type LentDevice struct {
	// Path below the instance's /dev gets the node; "" none.
	Path string        `json:"path,omitempty"`
	Mode uint32        `json:"mode,omitempty"` // of the node
	Rule cgroup.Device `json:"rule"`
}

// ParseLentDevice reads what the property device_allow holds: a rule of numbers,
// as cgroup.ParseDevice has it, or a node "/dev/NAME" or "/dev/NAME:ACCESS" of the
// host, which the instance finds in its own /dev. The node is looked at when
// look is set.
func ParseLentDevice(text string, look bool) (LentDevice, error) {
	if !strings.HasPrefix(text, "/") {
		rule, err := cgroup.ParseDevice(text)
		return LentDevice{Rule: rule}, err
	}
	path, access, found := strings.Cut(text, ":")
	if !found {
		access = "rw"
	}
	name, inDev := strings.CutPrefix(filepath.Clean(path), "/dev/")
	if !inDev || access == "" || strings.Trim(access, "rwm") != "" {
		return LentDevice{}, fmt.Errorf("%q is no device: write /dev/NAME or /dev/NAME:rwm", text)
	}
	d := LentDevice{Path: name, Rule: cgroup.Device{Access: access}}
	if !look {
		return d, nil
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return d, fmt.Errorf("cannot lend device %s: %w", path, err)
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFBLK:
		d.Rule.Block = true
	case unix.S_IFCHR:
	default:
		return d, fmt.Errorf("cannot lend device %s: it is none", path)
	}
	d.Mode = st.Mode & 0o777
	d.Rule.Major, d.Rule.Minor = int64(unix.Major(st.Rdev)), int64(unix.Minor(st.Rdev))
	return d, nil
}

// DeviceRules is all that the device filter lets an instance do: its own nodes
// and ptys, what it was lent, and making any node, which then cannot be opened.
// The system console (5:1) is not in it: the instance's is a pty.
func (c *Confinement) DeviceRules() []cgroup.Device {
	const any = cgroup.AnyNumber
	rules := []cgroup.Device{
		{Major: any, Minor: any, Access: "m"}, {Block: true, Major: any, Minor: any, Access: "m"},
		{Major: 5, Minor: 2, Access: "rw"}, // ptmx
	}
	for _, node := range devNodes {
		rules = append(rules, cgroup.Device{Major: int64(node.major), Minor: int64(node.minor), Access: "rw"})
	}
	for major := int64(136); major <= 143; major++ { // pts (Documentation/admin-guide/devices.txt)
		rules = append(rules, cgroup.Device{Major: major, Minor: any, Access: "rw"})
	}
	for _, d := range c.Devices {
		rules = append(rules, d.Rule)
	}
	return rules
}

// makeLent makes the node of a lent device in the /dev that dev is open on.
func makeLent(dev int, d LentDevice, owner int) error {
	if d.Path == "" || d.Rule.Major < 0 || d.Rule.Minor < 0 {
		return nil
	}
	at := dev
	names := strings.Split(d.Path, "/")
	for _, name := range names[:len(names)-1] {
		if err := unix.Mkdirat(at, name, 0o755); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		next, err := unix.Openat(at, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(next)
		at = next
	}
	kind := uint32(unix.S_IFCHR)
	if d.Rule.Block {
		kind = unix.S_IFBLK
	}
	rdev := unix.Mkdev(uint32(d.Rule.Major), uint32(d.Rule.Minor))
	return makeNode(at, names[len(names)-1], kind|d.Mode, rdev, owner)
}
