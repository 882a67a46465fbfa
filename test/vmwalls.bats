#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # stderr comes from run --separate-stderr
#
# The slow files of the virtual machine: the break-out suite and real inits under each wall. The
# machine is an emulated one where there is no KVM, and so is its time.

bats_require_minimum_version 1.5.0
BATS_TEST_TIMEOUT=2700
export BATS_TEST_TIMEOUT

# inside FILE: all its tests, and none that is skipped.
inside() {
	run --separate-stderr "$BATS_TEST_DIRNAME/vm/bats" --timeout 2600 "$BATS_TEST_DIRNAME/vm/$1"
	printf '%s\n' "$output" "$stderr"
	[[ $status == 0 && $output == *'ok 1 '* && $output != *'not ok'* ]]
}

@test "inside: nothing breaks out of an instance, under each wall" {
	make -s -C "$BATS_TEST_DIRNAME/.." bin/firmwared build/attempts 3>&-
	inside escape.bats
}

@test "inside: busybox init, sysvinit and systemd under each wall" {
	"$BATS_TEST_DIRNAME/debian-image" sysvinit 3>&-
	"$BATS_TEST_DIRNAME/debian-image" systemd 3>&-
	inside inits.bats
}
