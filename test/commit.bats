#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# commit: a firmware of an instance.

load helpers

setup() {
	fw_setup
	export FIRMWARED_USERNS=off # unions are compared from outside: with the owners that are on disk
	tree=$BATS_TEST_TMPDIR/final
	new_root "$tree"
	mkdir -p "$tree/old/deep" "$tree/turned/deep" "$tree/data" "$tree/made/anew" "$tree/touched/deep"
	printf 'one\n' >"$tree/data/file"
	touch "$tree/old/deep/file" "$tree/turned/deep/file" "$tree/made/anew/x" "$tree/touched/deep/x"
	fw_ok firmware add "$tree" --name fw
	fw_ok prepare fw --name box
}

teardown() { fw_teardown; }

inside() { fw_ok start "$1" --unconfined --attach -- /bin/sh -c "$2"; }

change() {
	inside box 'echo two >/data/new; ln /data/new /data/hard; chmod 600 /etc/passwd; rm -r /old/deep /turned; echo x >/turned
		rm -r /made; mkdir /made; echo y >/made/y; busybox mkfifo -m 640 /data/pipe; busybox chown 12:34 /data/pipe
		: >>/touched/deep/x; : >>/etc/group; ln -s / /link; ln /etc/firmware /etc/second'
	setfattr -n trusted.note -v kept "$(union_of box)/data"
	dd if=/dev/urandom of="$(union_of box)/data/holes" bs=1000 count=1 seek=3000 status=none
}

union_of() { printf '%s\n' "$FW_ROOT/workspaces/$(fw get "$1" id)/union"; }

picture() {
	(
		cd "$1" || exit
		find . -printf '%P %y %m %U:%G %l %T@ ' \( -type d -printf '\n' -o -printf '%n\n' \) | sort
		find . -type f -exec sha256sum {} + | sort -k2
		getfattr -d -m - -R -h . 2>/dev/null | sort
	)
}

@test "a layer on the old firmware: an instance of it shows the same; only what changed is kept; it goes with the firmware" {
	change
	fw_ok commit box --name new
	assert_eq "$(fw firmware show new --json | jq -r .id)" "$output"
	fw_ok prepare new --name copy
	diff <(picture "$(union_of box)" | sed '/^touched/d; /^etc\/group/d') <(picture "$(union_of copy)" | sed '/^touched/d; /^etc\/group/d')
	fw_ok diff copy
	assert_eq '' "$output"
	fw_ok firmware show new --json
	assert_eq 'true directory fw' "$(jq -r '[.copied, .kind, .base] | join(" ")' <<<"$output")"
	local path
	path=$(jq -r .path <<<"$output")
	[[ ! -e $path/touched && ! -e $path/etc/group ]]
	(( $(stat -c %b "$path/data/holes") < 100 ))
	fw_fails 1 'firmware new' firmware remove fw
	fw_ok drop copy
	fw_ok firmware remove new
	[[ ! -e $path ]]
	fw_ok gc --dry-run
	refute_has "$output" images/
}

@test "a commit of a commit of a commit; the instances go their own ways" {
	change
	fw_ok commit box --name one
	fw_ok prepare one --name second
	inside second 'rm -r /made /data/new; mkdir /made; echo z >/made/z; echo back >/old/again; rm /link; mkdir /turned2'
	fw_ok commit second --name two
	fw_ok prepare two --name third
	inside third 'rm /turned; mkdir /turned; echo last >/turned/last; rm /made/z'
	fw_ok commit third --name three
	fw_ok prepare three --name fourth
	diff <(picture "$(union_of third)") <(picture "$(union_of fourth)")
	inside fourth 'cat /turned/last /old/again; ls /made; ls -1 /data'
	assert_eq 'last
back
file
hard
holes
pipe' "$(tr -d '\r' <<<"$output")"
	inside box 'cat /data/new'
	assert_eq two "$(tr -d '\r' <<<"$output")"
}

@test "flatten with squashfs and erofs: an image on nothing, with the same tree" {
	change
	local hook file
	for hook in squashfs erofs; do
		file=$BATS_TEST_TMPDIR/"an image, $hook"
		fw_ok commit box --name "$hook" --flatten "$hook" "$file"
		fw_ok prepare "$hook" --name "of-$hook"
		diff <(picture "$(union_of box)" | sed 's/\.[0-9]* / /; /trusted/d') <(picture "$(union_of "of-$hook")" | sed 's/\.[0-9]* / /; /trusted/d')
		fw_ok firmware show "$hook" --json
		assert_eq 'false image ' "$(jq -r '[.copied, .kind, .base] | join(" ")' <<<"$output")"
		fw_fails 1 'is there already' commit box --name again --flatten "$hook" "$file"
	done
	[[ -z $(find "$BATS_TEST_TMPDIR" -name '.firmwared-*') ]]
}

@test "flatten to a directory" {
	change
	fw_ok commit box --name flat --flatten directory "$BATS_TEST_TMPDIR/flat"
	assert_eq '' "$stderr"
	run script -qec "'$FIRMWARED' --root '$FW_ROOT' commit box --name seen --flatten directory '$BATS_TEST_TMPDIR/seen'" /dev/null 3>&- </dev/null
	assert_eq 0 "$status"
	[[ $output =~ pack\ .*\([0-9]+/[0-9]+\) ]] || fail "no progress: $output"
	diff <(picture "$(union_of box)") <(picture "$BATS_TEST_TMPDIR/flat")
	inside box 'rm -r /data'
	assert_eq two "$(<"$BATS_TEST_TMPDIR/flat/data/new")"
	fw_ok firmware remove flat
	[[ -e $BATS_TEST_TMPDIR/flat/data/new ]]
}

@test "progress: a hook's lines are read, others ignored; a hook that fails, lies or cannot" {
	mkdir "$BATS_TEST_TMPDIR/hooks"
	local lib='#!/bin/bash
. "$FIRMWARED_LIB/lib.bash"
HOOK_SUMMARY=test
probe() { false; }
lower_mount() { mount_image ext4; }
'
	printf '%s\npack() { progress 1 2; echo noise; echo junk >&3; false; }\nfirmwared_hook\n' "$lib" >"$BATS_TEST_TMPDIR/hooks/fails.hook"
	printf '%s\npack() { :; }\nfirmwared_hook\n' "$lib" >"$BATS_TEST_TMPDIR/hooks/lies.hook"
	printf '%s\npack() { echo no image >"$FIRMWARED_OUTPUT"; }\nfirmwared_hook\n' "$lib" >"$BATS_TEST_TMPDIR/hooks/rubbish.hook"
	chmod 755 "$BATS_TEST_TMPDIR"/hooks/*
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:$REPO/hooks
	fw_fails 1 'noise' commit box --name new --flatten fails "$BATS_TEST_TMPDIR/image"
	fw_fails 1 'made no image' commit box --name new --flatten lies "$BATS_TEST_TMPDIR/image"
	run --separate-stderr fw commit box --name new --flatten rubbish "$BATS_TEST_TMPDIR/image"
	assert_eq 1 "$status"
	fw_fails 1 'does not say pack=yes' commit box --name new --flatten mount "$BATS_TEST_TMPDIR/image"
	fw_fails 1 none commit box --name new --flatten none "$BATS_TEST_TMPDIR/image"
	[[ ! -e $BATS_TEST_TMPDIR/image ]]
	[[ -z $(find "$BATS_TEST_TMPDIR" -name '.firmwared-*') ]]
	assert_eq fw "$(fw firmware list --json | jq -r '.[].name')"
	if [[ -n $(command -v script) ]]; then
		run --separate-stderr script -qec "$(printf '%q ' "$FIRMWARED" --root "$FW_ROOT" commit box --name img --flatten squashfs "$BATS_TEST_TMPDIR/image")" /dev/null
		assert_eq 0 "$status"
	fi
}

@test "refusals: it runs, the name is taken or none, unknown instance; nothing is left" {
	fw_fails 1 'another firmware is named fw' commit box --name fw
	fw_fails 1 'is not a name' commit box --name ../x
	fw_fails 1 none commit none --name new
	fw_fails 2 usage: commit box --name new --flatten squashfs
	fw_fails 2 usage: commit --name new
	fw_ok start box --unconfined -- /bin/sleep 1000
	fw_fails 1 'it is started; kill it first' commit box --name new
	[[ -z $(ls -A "$FW_ROOT/images" 2>/dev/null) ]]
}
