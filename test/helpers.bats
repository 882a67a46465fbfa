# SPDX-License-Identifier: Apache-2.0
# The helpers themselves: each kind of leak is seen, named and cleared.

load helpers

setup() {
	export FIRMWARED=/bin/true # no state root comes into being
	fw_setup
}

teardown() {
	fw_teardown
}

# sleeps PID: it has become the sleep that it is to be.
sleeps() { grep -qx sleep "/proc/$1/comm"; }

# assert_leak TEXT
assert_leak() {
	local list
	list=$(leaks)
	assert_has "$list" "$1" || return
	run fw_teardown
	[[ $status -ne 0 ]] || fail 'the teardown says nothing'
	assert_has "$output" "$1"
	no_leaks || fail "not cleared: $(leaks)"
}

@test "a mount is seen, whatever its name" {
	local dir="$FW_ROOT/a b\\c,d:e"
	mkdir "$dir"
	mount -t tmpfs tmpfs "$dir"
	assert_eq "$dir" "$(leaked_mounts)"
	assert_leak "mount $dir"
}

@test "a loop device is seen" {
	local device
	device=$(losetup -f --show -r "$(ext2_image)")
	assert_leak "loop device $device"
}

@test "processes are seen by what they hold and by a hook's variables; others are left alone" {
	local other hook inside list
	sleep 100 3>&- &
	other=$!
	FIRMWARED_STATE=$FW_ROOT/state setsid sleep 101 3>&- &
	hook=$!
	(cd "$FW_ROOT" && exec sleep 102) 3>&- &
	inside=$!
	wait_until 5 sleeps "$hook"
	wait_until 5 sleeps "$inside"
	list=$(leaks)
	refute_has "$list" "process $other:"
	assert_has "$list" "process $inside: sleep 102"
	assert_leak "process $hook: sleep 101"
	kill "$other"
}

@test "wait_until gives up" {
	run -1 wait_until 1 false
	assert_has "$output" 'not within 1 s'
}

@test "run_err wants one line, the text, the status and no output" {
	run_err 3 'cannot' bash -c 'echo cannot >&2; exit 3'
	run ! run_err 3 'cannot' bash -c 'echo cannot >&2; exit 1'
	run ! run_err 3 'cannot' bash -c 'echo other >&2; exit 3'
	run ! run_err 3 'cannot' bash -c 'echo cannot >&2; echo more >&2; exit 3'
	run ! run_err 3 'cannot' bash -c 'echo cannot >&2; echo result; exit 3'
}

@test "the fixtures are root file systems, and tree_sum sees a change" {
	local root sum own
	root=$(busybox_root)
	run -7 chroot "$root" /bin/sh -c 'exit 7'
	sum=$(tree_sum "$root")
	own=$BATS_TEST_TMPDIR/own
	new_root "$own"
	assert_eq "$sum" "$(tree_sum "$own")"
	chmod 600 "$own/etc/firmware"
	[[ $sum != "$(tree_sum "$own")" ]]
	debugfs -R 'cat /etc/firmware' "$(ext2_image)" 2>/dev/null | grep -qx pristine
}
