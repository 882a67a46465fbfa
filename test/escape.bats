#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# The break-out suite on a kernel without AppArmor: in a user namespace every attempt
# fails; with --unconfined most succeed, which proves that they are attempts.
# test/vm/escape.bats has the other walls.

load helpers
load escape/suite

setup() { escape_setup; }
teardown() { escape_teardown; }

@test "break-out: nothing gets through a user namespace" {
	all_attempts userns host
	assert_blocked
}

@test "break-out: the attempts are real, unconfined" {
	all_attempts unconfined host
	assert_real 40
}
