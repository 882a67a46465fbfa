#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# remount tells the truth: what a running instance does not see of a changed firmware directory.

load helpers

setup() {
	fw_setup
	final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	mkdir -p "$final/lib" "$final/app"
	echo old >"$final/lib/libfoo.so"
	echo old >"$final/app/data"
	fw_ok firmware add "$final" --name fw
	fw_ok prepare fw --name box
	union=$(fw get box workspace)/union
}

teardown() { fw_teardown; }

# replace PATH WORD: as a build does it.
replace() {
	echo "$2" >"$final/$1.new"
	mv "$final/$1.new" "$final/$1"
}

@test "all seen: exit 0 and how many files changed; stopped or running" {
	fw_ok start box -- /bin/sh -c 'cat /lib/libfoo.so /nothing; exec sleep 1000'
	wait_until 5 logged old
	replace lib/libfoo.so new
	echo more >"$final/nothing"
	fw_ok remount box
	assert_eq 'box: 2 files changed below, all of it is seen' "$output"
	assert_eq new "$(<"$union/lib/libfoo.so")"
	fw_ok remount box
	assert_eq 'box: 0 files changed below, all of it is seen' "$output"
	fw_ok kill box
	replace lib/libfoo.so newer
	fw_ok remount box --json
	assert_eq '[1,[],[],false,true,[]]' "$(jq -c '.[0] | [.changed, .stale, .shadowed, .outdated, .checked, .advice]' <<<"$output")"
	assert_eq newer "$(<"$union/lib/libfoo.so")"
}

logged() { fw logs box | grep -qF "$1"; }

@test "stale: a file that is open, one that is running, a name that is gone below; restart helps" {
	local pid
	fw_ok start box -- /bin/sh -c 'exec 5</lib/libfoo.so 6</app/data; echo open; exec sleep 1000'
	wait_until 5 logged open
	pid=$(fw get box pid)
	replace lib/libfoo.so new
	rm "$final/app/data"
	cp "$final/bin/busybox" "$final/bin/busybox.new"
	mv "$final/bin/busybox.new" "$final/bin/busybox"
	run --separate-stderr fw remount box
	assert_eq 1 "$status"
	assert_has "$output" "box: stale     /lib/libfoo.so (held by pid $pid)"
	assert_has "$output" "box: stale     /app/data (held by pid $pid)"
	assert_has "$output" "box: stale     /bin/busybox (held by pid $pid)"
	assert_has "$stderr" '(3 stale, 0 hidden by its own files): firmwared restart box'
	assert_eq old "$(<"$union/lib/libfoo.so")" 'what the check says is true'
	fw_ok restart box
	assert_eq new "$(<"$union/lib/libfoo.so")"
	[[ ! -e $union/app/data ]]
	fw_ok remount box
}

@test "stale: a directory made anew below somebody who works in it" {
	fw_ok start box --cwd /app -- /bin/sleep 1000
	rm -r "$final/app"
	mkdir "$final/app"
	echo new >"$final/app/data"
	run --separate-stderr fw remount box
	assert_eq 1 "$status"
	assert_has "$output" "box: stale     /app (held by pid $(fw get box pid))"
	[[ ! -e $union/app/data ]]
}

@test "shadowed: its own copy of a file that changed below, named with the reset that would help" {
	fw_ok start box -- /bin/sh -c 'echo mine >>/lib/libfoo.so; rm /app/data; echo written; exec sleep 1000'
	wait_until 5 logged written
	fw_ok remount box
	replace lib/libfoo.so new
	replace app/data new
	run --separate-stderr fw remount box
	assert_eq 1 "$status"
	assert_eq $'box: shadowed  /app/data\nbox: shadowed  /lib/libfoo.so' "$output"
	assert_has "$stderr" 'firmwared reset box /app/data /lib/libfoo.so'
	fw_ok kill box
	run --separate-stderr fw remount box
	assert_eq 1 "$status"
	assert_eq 'box: shadowed  /lib/libfoo.so' "$output"
}

@test "the directory deleted and made anew; other instances are left alone" {
	fw_ok prepare fw --name other
	fw_ok start box other -- /bin/sleep 1000
	rm -r "$final"
	new_root "$final"
	echo 2 >"$final/version"
	fw_fails 1 'deleted and made anew: restart it' remount box
	run fw remount box --json
	assert_eq true "$(fw remount box --json 2>/dev/null | jq '.[0].outdated')"
	fw_ok restart box
	assert_eq 2 "$(<"$union/version")"
	fw_ok get other state
	assert_eq started "$output"
	fw_ok get other pid
}
