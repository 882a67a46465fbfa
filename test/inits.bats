#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Real inits in a user namespace, on a kernel without AppArmor; test/vm/inits.bats has the
# other walls. The first run makes two Debian images, which takes minutes: test/debian-image.

load helpers
load inits

setup_file() {
	local kind
	for kind in sysvinit systemd; do
		"$BATS_TEST_DIRNAME/debian-image" "$kind" >/dev/null 3>&-
	done
}
setup() {
	fw_setup
	export FIRMWARED_APPARMOR=off FIRMWARED_USERNS=on
}
teardown() { fw_teardown; }

@test "busybox init that mounts everything itself: login prompt, poweroff, in a user namespace" {
	boot_busybox userns
}

@test "sysvinit: login prompt, poweroff, in a user namespace" {
	boot_sysvinit userns
}

@test "systemd: multi-user target, login prompt, poweroff, in a user namespace" {
	boot_systemd userns
}
