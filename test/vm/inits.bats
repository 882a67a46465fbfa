#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside the virtual machine: real inits under AppArmor, in a user namespace with cgroup2
# alone, and under both. test/inits.bats makes the Debian images, outside.

load ../helpers
load ../inits

setup() {
	[[ ${FIRMWARED_VM-} == 1 ]] || fail 'run me by test/vm/bats' || return
	fw_setup
	INIT_LIMIT=180
}
teardown() { fw_teardown; }

apparmor() { export FIRMWARED_APPARMOR=required FIRMWARED_USERNS=off; }
userns() { export FIRMWARED_APPARMOR=off FIRMWARED_USERNS=on; }
both() { export FIRMWARED_APPARMOR=required FIRMWARED_USERNS=on; }

@test "busybox init: login prompt, poweroff, under AppArmor" {
	apparmor
	boot_busybox apparmor
}

@test "busybox init: login prompt, poweroff, under AppArmor and a user namespace" {
	both
	boot_busybox apparmor+userns
}

@test "sysvinit: login prompt, poweroff, under AppArmor" {
	apparmor
	boot_sysvinit apparmor
}

@test "sysvinit: login prompt, poweroff, under AppArmor and a user namespace" {
	both
	boot_sysvinit apparmor+userns
}

@test "systemd: multi-user target, login prompt, poweroff, under AppArmor" {
	apparmor
	boot_systemd apparmor
}

@test "systemd: multi-user target, login prompt, poweroff, in a user namespace" {
	userns
	boot_systemd userns
}

@test "systemd: multi-user target, login prompt, poweroff, under AppArmor and a user namespace" {
	both
	boot_systemd apparmor+userns
}
