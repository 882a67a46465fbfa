#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside the virtual machine: the break-out suite under AppArmor, in a user namespace,
# under both and unconfined. test/escape.bats is the part for a kernel without AppArmor.

load ../helpers
load ../escape/suite
load quota

setup() {
	[[ ${FIRMWARED_VM-} == 1 ]] || fail 'run me by test/vm/bats' || return
	quota_root
	export ESCAPE_QUOTA=yes
	escape_setup
}
teardown() {
	groups_of_the_machine rmdir
	quota_teardown
}

@test "break-out: nothing gets through AppArmor" {
	all_attempts apparmor vm
	assert_blocked
}

@test "break-out: nothing gets through a user namespace" {
	all_attempts userns vm
	assert_blocked
}

@test "break-out: nothing gets through AppArmor and a user namespace" {
	all_attempts apparmor+userns vm
	assert_blocked
}

@test "break-out: the attempts are real, unconfined" {
	all_attempts unconfined vm
	assert_real 60
}
