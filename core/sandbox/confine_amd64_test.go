// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"maps"
	"testing"
)

// The 32-bit calls of the machine are no way around: kexec_load, settimeofday,
// keyctl, and close, which is let through.
func TestSeccomp32(t *testing.T) {
	names := []string{"32:283", "32:79", "32:288", "32:6"}
	want := map[string]string{"32:283": "EPERM", "32:79": "EPERM", "32:288": "ENOSYS", "32:6": "EBADF"}
	if have := makeCalls(t, Confinement{}, names...); !maps.Equal(have, want) {
		t.Errorf("%v, want %v", have, want)
	}
	// The control: without the filter the kernel answers.
	if have := makeCalls(t, Confinement{None: true}, names...); have["32:288"] == "ENOSYS" || have["32:79"] != "EFAULT" {
		t.Errorf("unconfined: %v", have)
	}
}
