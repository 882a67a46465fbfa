#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# reset: an instance, or some paths of it, as the firmware is.

load helpers

setup() {
	fw_setup
	final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	mkdir -p "$final/app/sub"
	echo old >"$final/app/data"
	echo old >"$final/app/sub/file"
	fw_ok firmware add "$final" --name fw
	fw_ok prepare fw --name box
}

teardown() { fw_teardown; }

inside() {
	fw_ok start box --attach -- /bin/sh -c "$1"
}

@test "whole: nothing of what it wrote is left; other instances keep theirs; the root's look stays" {
	fw_ok prepare fw --name other
	fw_ok start other --attach -- /bin/sh -c 'echo x >/new'
	inside 'echo mine >/app/data; rm -r /app/sub; echo x >/new; chmod 700 /'
	fw_ok reset box
	fw_ok diff box --exit-code
	fw_ok diff other
	assert_eq 'added    /new' "$output"
	inside 'cat /app/data /app/sub/file'
	assert_eq $'old\r\nold\r' "$output"
	assert_eq "" "$(compgen -G "$FW_ROOT/workspaces/*/rw.discarded")"
}

@test "paths: a changed, an added, a deleted one, a directory; the rest stays" {
	inside 'echo mine >/app/data; rm /app/sub/file; mkdir /new; echo x >/new/a; echo y >/keep'
	fw_ok reset box /app/data /app/sub/file /new /never/touched
	fw_ok diff box
	assert_eq 'added    /keep' "$output"
}

@test "paths in a directory that the instance made anew: what the firmware has appears, the rest stays as it was" {
	inside 'rm -r /app; mkdir /app; echo mine >/app/own; mkdir /app/sub; echo own >/app/sub/own'
	fw_ok reset box /app/data
	fw_ok diff box
	assert_eq 'added    /app/own
deleted  /app/sub/file
added    /app/sub/own' "$output"
	fw_ok reset box /app/sub/file
	inside 'cat /app/data /app/sub/*'
	assert_eq $'old\r\nold\r\nown\r' "$output"
}

@test "refusals: running, a path whose directory is gone, no path, unknown instance" {
	inside 'rm -r /app'
	fw_fails 1 'its directory /app was deleted or replaced, too: reset that' reset box /app/data
	fw_fails 1 'not an absolute path below /' reset box /
	fw_fails 2 usage: reset
	fw_fails 1 none reset none /app
	fw_ok start box -- /bin/sleep 1000
	fw_fails 1 'kill it first, or reset --restart' reset box
	fw_ok diff box --exit-code --path /bin
}

@test "restart: the running one goes on with the options of its start" {
	fw_ok start box --env A=hello -- /bin/sh -c 'cat /app/data; echo $A; echo mine >/app/data; exec sleep 1000'
	wait_until 5 logged hello 1
	fw_ok reset box --restart
	wait_until 5 logged hello 2
	assert_eq $'old\r\nhello\r\nold\r\nhello\r' "$(fw logs box)"
}

logged() { [[ $(fw logs box | grep -c "$1") == "$2" ]]; }

@test "hostile: links in the way are not followed" {
	mkdir "$BATS_TEST_TMPDIR/outside"
	touch "$BATS_TEST_TMPDIR/outside/file"
	inside "rm -r /app; ln -s '$BATS_TEST_TMPDIR/outside' /app; ln -s '$BATS_TEST_TMPDIR/outside' /link"
	fw_fails 1 'was deleted or replaced' reset box /app/file
	fw_fails 1 'was deleted or replaced' reset box /link/file
	fw_ok reset box
	[[ -e $BATS_TEST_TMPDIR/outside/file ]]
}
