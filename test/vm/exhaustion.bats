#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside the virtual machine: limits of the whole machine that no test may touch
# elsewhere. The others are test/exhaustion.bats.

load ../helpers

setup() { fw_setup; }

teardown() {
	[[ ! ${MOUNT_MAX:-} ]] || echo "$MOUNT_MAX" >/proc/sys/fs/mount-max
	[[ ! ${NOW:-} ]] || date -s "@$((NOW + SECONDS - BEGAN))" >/dev/null
	fw_teardown
}

# mounts_left N: no more than N mounts can be made in this namespace.
mounts_left() { echo "$(($(wc -l </proc/self/mountinfo) + $1))" >/proc/sys/fs/mount-max; }

@test "the limit of mounts: prepare says which limit and leaves nothing; start and drop go on" {
	local left
	MOUNT_MAX=$(</proc/sys/fs/mount-max)
	fw_ok firmware add "$(busybox_root)" --name fw
	for left in 0 1; do # the state directory's mount; with one more, the lower's
		mounts_left "$left"
		run --separate-stderr fw prepare fw --name box
		assert_eq 1 "$status"
		assert_has "$stderr" 'sysctl fs.mount-max'
		assert_eq '[]' "$(fw list --json)"
	done
	echo "$MOUNT_MAX" >/proc/sys/fs/mount-max
	fw_ok prepare fw --name box
	# pid 1's own namespace is a copy that no limit stops, and keeps few of its mounts.
	mounts_left 0
	fw_ok start box -- /bin/sleep 1000
	fw_ok kill box
	fw_ok drop box
	echo "$MOUNT_MAX" >/proc/sys/fs/mount-max
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
}

@test "a clock that jumps back two years, and forward again" {
	NOW=$(date +%s) BEGAN=$SECONDS
	new_image "$BATS_TEST_TMPDIR/image"
	fw_ok firmware add "$BATS_TEST_TMPDIR/image" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'echo precious >/file; exec sleep 1000'
	date -s "@$((NOW - 63072000))" >/dev/null
	assert_eq started "$(fw get box state)"
	fw_ok kill box --signal TERM --timeout 1s
	fw_ok restart box
	fw_ok prepare fw --name other
	fw_ok start other -- /bin/sleep 1000
	fw_ok remount box
	fw_ok gc # an empty group of supervisors may be there
	fw_ok gc
	assert_eq '' "$output"
	date -s "@$((NOW + 100000))" >/dev/null
	assert_eq started "$(fw get other state)"
	fw_ok drop --force other
	fw_ok kill box
	assert_eq precious "$(<"$FW_ROOT/workspaces/$(fw get box id)/rw/file")"
	fw_ok gc
	fw_ok gc
	assert_eq '' "$output"
}
