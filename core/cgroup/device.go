// SPDX-License-Identifier: Apache-2.0

package cgroup

import (
	"fmt"
	"strconv"
	"strings"
)

// AnyNumber as the Major or Minor of a Device stands for all.
const AnyNumber = -1

// Device is a rule of a device filter: processes may do Access with these nodes.
type Device struct {
	Block        bool
	Major, Minor int64
	Access       string // of r, w and m (mknod)
}

// ParseDevice reads a rule such as "c:10:200:rwm" or "b:7:*:r"; without access it
// is rw.
func ParseDevice(text string) (Device, error) {
	bad := fmt.Errorf("%q is no device rule: write c:MAJOR:MINOR or b:MAJOR:MINOR, a number or * each, and :rwm or less of it", text)
	fields := strings.Split(text, ":")
	if len(fields) != 3 && len(fields) != 4 || fields[0] != "c" && fields[0] != "b" {
		return Device{}, bad
	}
	d := Device{Block: fields[0] == "b", Access: "rw"}
	var ok1, ok2 bool
	d.Major, ok1 = deviceNumber(fields[1], 1<<12)
	d.Minor, ok2 = deviceNumber(fields[2], 1<<20)
	if !ok1 || !ok2 {
		return Device{}, bad
	}
	if len(fields) == 4 {
		if d.Access = fields[3]; d.Access == "" || strings.Trim(d.Access, "rwm") != "" {
			return Device{}, bad
		}
	}
	return d, nil
}

// deviceNumber: the kernel has 12 bits for a major and 20 for a minor.
func deviceNumber(text string, limit int64) (int64, bool) {
	if text == "*" {
		return AnyNumber, true
	}
	n, err := strconv.ParseUint(text, 10, 31)
	return int64(n), err == nil && int64(n) < limit
}

// String is the rule as the kernel's devices.list has it.
func (d Device) String() string {
	kind := "c"
	if d.Block {
		kind = "b"
	}
	number := func(n int64) string {
		if n == AnyNumber {
			return "*"
		}
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprintf("%s %s:%s %s", kind, number(d.Major), number(d.Minor), d.Access)
}
