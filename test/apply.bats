#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# apply: what an instance changed, in the developer's tree.

load helpers

setup() {
	fw_setup
	export FIRMWARED_USERNS=off # unions are compared from outside: with the owners that are on disk
	tree=$BATS_TEST_TMPDIR/final src=$BATS_TEST_TMPDIR/src
	new_root "$tree"
	mkdir -p "$tree/old/deep" "$tree/turned/deep" "$tree/data" "$tree/made/anew"
	printf 'one\n' >"$tree/data/file"
	touch "$tree/old/deep/file" "$tree/old/file" "$tree/turned/deep/file" "$tree/made/anew/x" "$tree/data/becomes"
	fw_ok firmware add "$tree" --name fw
	fw_ok prepare fw --name box
}

teardown() { fw_teardown; }

inside() { fw_ok start box --unconfined --attach -- /bin/sh -c "$1"; }

change() {
	inside 'echo two >>/data/file; echo new >/data/new; chmod 600 /etc/passwd; rm -r /old; rm -r /turned; ln -s ../nowhere /turned
		rm -r /made; mkdir /made; echo y >/made/y; rm /data/becomes; mkdir /data/becomes; echo in >/data/becomes/in'
}

picture() {
	(
		cd "$1" || exit
		find . -not -path . -printf '%P %y %m %U:%G %l\n' | sort
		find . -type f -exec sha256sum {} + | sort -k2
	)
}

union() { printf '%s\n' "$FW_ROOT/workspaces/$(fw get box id)/union"; }

@test "the firmware's own directory: a dry run changes nothing, then it is as the instance, and nothing differs any more" {
	change
	local before after
	before=$(picture "$tree") after=$(picture "$(union)")
	fw_ok apply box --dry-run
	assert_has "$output" 'changed  /data/file'
	assert_eq "$before" "$(picture "$tree")"
	local planned
	planned=$(sort <<<"$output")
	fw_ok apply box
	assert_eq "$planned" "$(sort <<<"$output")"
	assert_eq "$after" "$(picture "$tree")"
	fw_ok diff box
	assert_eq '' "$output"
	fw_ok apply box
	assert_eq '' "$output"
	# The next round is no conflict with the first.
	inside 'echo three >>/data/file; rm /data/new; chmod 644 /etc/passwd'
	fw_ok apply box
	assert_eq $'one\ntwo\nthree' "$(<"$tree/data/file")"
	[[ ! -e $tree/data/new ]]
	[[ -z $(find "$tree" -name '.firmwared-*') ]]
}

@test "another tree: as the instance; owners are those of the tree, set-user-ID bits are not made up" {
	cp -a "$tree" "$src"
	chown -R 1234:1235 "$src"
	change
	inside 'cp /bin/busybox /data/suid; chmod 4755 /data/suid; busybox chown 7:8 /data/new'
	run --separate-stderr fw apply box "$src"
	assert_eq 1 "$status"
	assert_has "$stderr" 'not applied: /data/suid: its set-user-ID'
	diff <(picture "$(union)" | sed 's/ [0-9]*:[0-9]* / /; s/ 4755/ 755/') <(picture "$src" | sed 's/ [0-9]*:[0-9]* / /')
	assert_eq '1234:1235 755' "$(stat -c '%u:%g %a' "$src/data/suid")"
	[[ -z $(find "$src" -not -user 1234 -o -not -group 1235) ]]
	fw_ok apply box "$src" --owner --path /data
	assert_eq '7:8 0:0 4755' "$(stat -c '%u:%g' "$src/data/new") $(stat -c '%u:%g %a' "$src/data/suid")"
}

@test "moved meanwhile: every path is named, nothing is applied; --force" {
	cp -a "$tree" "$src"
	change
	echo other >"$src/data/file"
	echo other >"$src/data/new"
	echo mine >"$src/old/deep/mine"
	rm "$src/etc/passwd"
	local before
	before=$(picture "$src")
	run --separate-stderr fw apply box "$src"
	assert_eq 1 "$status"
	assert_has "$stderr" 'conflict: /data/file: it is not what the firmware has'
	assert_has "$stderr" 'conflict: /data/new: it is there already'
	assert_has "$stderr" 'conflict: /etc/passwd: it is gone'
	assert_has "$stderr" 'conflict: /old/deep/mine: it is in a directory that was deleted'
	assert_has "$stderr" '4 paths were changed'
	assert_eq "$before" "$(picture "$src")"
	run --separate-stderr fw apply box "$src" --force
	assert_eq 1 "$status" # what is nobody's to delete stays
	assert_eq "$before" "$(picture "$src")"
	rm "$src/old/deep/mine"
	fw_ok apply box "$src" --force
	assert_eq $'one\ntwo' "$(<"$src/data/file")"
}

@test "the firmware itself was edited after the instance had changed it" {
	inside 'echo two >>/data/file; echo x >/data/added; rm /old/file'
	echo edited >"$tree/data/file"
	echo edited >"$tree/data/added"
	echo edited >>"$tree/old/file"
	echo fine >"$tree/data/other"
	run --separate-stderr fw apply box
	assert_eq 1 "$status"
	assert_has "$stderr" 'conflict: /data/file: it was changed after'
	assert_has "$stderr" 'conflict: /data/added: it was changed after'
	assert_has "$stderr" 'conflict: /old/file: it was changed after'
	assert_eq edited "$(<"$tree/data/file")"
	fw_ok apply box --path /data/file --force
	assert_eq $'one\ntwo' "$(<"$tree/data/file")"
	[[ -e $tree/data/other ]]
}

@test "equal changes on both sides are none; filters; special files are named" {
	cp -a "$tree" "$src"
	change
	printf 'one\ntwo\n' >"$src/data/file"
	rm -r "$src/old"
	inside 'busybox mkfifo /data/pipe; mkdir /var; echo log >/var/log'
	run --separate-stderr fw apply box "$src" --ignore '/var/**' --path /data --path /var --path /old
	assert_eq 1 "$status"
	assert_has "$stderr" 'not applied: /data/pipe'
	assert_eq 'changed  /data/becomes
added    /data/becomes/in
added    /data/new' "$(grep -v /var <<<"$output")"
	[[ ! -e $src/var/log ]]
}

@test "hostile: links in the tree are not followed, names are escaped" {
	cp -a "$tree" "$src"
	mkdir "$BATS_TEST_TMPDIR/outside"
	inside 'mkdir /data/sub; echo x >/data/sub/x; echo y >/made/anew/x; echo z >"/data/$(printf "\033[2J")"'
	rm -r "$src/made/anew"
	ln -s "$BATS_TEST_TMPDIR/outside" "$src/made/anew"
	ln -s "$BATS_TEST_TMPDIR/outside" "$src/data/sub"
	run --separate-stderr fw apply box "$src"
	assert_eq 1 "$status"
	assert_has "$stderr" '/made/anew/x: its directory is not there, or a link is in the way'
	run --separate-stderr fw apply box "$src" --force --ignore /made
	assert_eq 0 "$status"
	refute_has "$output" $'\033'
	assert_eq x "$(<"$src/data/sub/x")"
	[[ -z $(ls -A "$BATS_TEST_TMPDIR/outside") ]]
}

@test "refusals: an image, no such directory, unknown instance, wrong usage" {
	fw_ok firmware add "$(ext2_image)" --name img
	fw_ok prepare img --name ibox
	fw_fails 1 'no directory of yours' apply ibox
	fw_fails 1 'no such file' apply box "$BATS_TEST_TMPDIR/none"
	fw_fails 1 none apply none
	fw_fails 1 'is not absolute' apply box --path etc
	fw_fails 2 usage: apply
}
