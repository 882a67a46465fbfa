#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # the shells inside instances expand these
#
# Runs inside the virtual machine, whose kernel has quotas: rw_max and rw_files_max.
# test/exhaustion.bats has what is said where there are none.

load ../helpers
load quota

setup() {
	[[ ${FIRMWARED_VM-} == 1 ]] || fail 'run me by test/vm/bats' || return
	quota_root
	fw_setup
	mkdir -p "$BATS_TEST_TMPDIR/tree"/{bin,dev,proc,sys}
	cp /bin/busybox "$BATS_TEST_TMPDIR/tree/bin/sh"
	printf 'from the firmware\n' >"$BATS_TEST_TMPDIR/tree/file"
	head -c 3M /dev/urandom >"$BATS_TEST_TMPDIR/tree/large"
	fw_ok firmware add "$BATS_TEST_TMPDIR/tree" --name fw
}
teardown() { quota_teardown; }

# in_box SCRIPT [OPTION...]
in_box() {
	run --separate-stderr fw start box --attach "${@:2}" -- /bin/sh -c "$1"
	output=${output//$'\r'/}
}

grow='head -c 3000000 /dev/zero >/big || echo stopped'

limits_hold() {
	in_box "$grow; ls -s /big"
	assert_has "$output" stopped
	in_box 'i=0; rm /big; while true >/f$i; do i=$((i + 1)); done 2>/dev/null; rm /f*; echo $i'
	((output > 10 && output < 100)) || fail "$output $stderr"
}

@test "rw_max and rw_files_max hold under each wall, for what was there before too, and can be taken off" {
	local id
	fw_ok prepare fw --name box
	in_box 'head -c 1500000 /dev/zero >/big; echo more >>/file; echo done'
	assert_eq 'done' "$output"
	fw_ok set box rw_max=2M rw_files_max=100
	FIRMWARED_APPARMOR=off FIRMWARED_USERNS=on limits_hold
	FIRMWARED_APPARMOR=required FIRMWARED_USERNS=off limits_hold
	in_box 'echo x >>/large && echo copied'
	refute_has "$output" copied
	# The machine's own, and a neighbour, have none.
	fw_ok prepare fw --name other
	fw_ok start other --attach -- /bin/sh -c "$grow"
	refute_has "$output" stopped
	# Nor does it count for the log, snapshots or clones, which the machine makes.
	fw_ok snapshot box one
	fw_ok rollback box one
	FIRMWARED_APPARMOR=off FIRMWARED_USERNS=on limits_hold
	fw_ok set box rw_max= rw_files_max=
	in_box "$grow"
	assert_eq '' "$output"
	fw_ok set box rw_max=2M
	fw_ok kill box
	id=$(fw get box id)
	fw_ok drop box --keep
	[[ -s $FW_ROOT/kept/$id/big ]]
}
