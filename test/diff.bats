#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What an instance changed: firmwared diff. The rules themselves are tested against a look at
# everything in core/rwlayer; here is the command.

load helpers

setup() {
	fw_setup
	tree=$BATS_TEST_TMPDIR/final
	new_root "$tree"
	mkdir -p "$tree/etc/conf.d" "$tree/old/deep"
	printf 'one\ntwo\nthree\n' >"$tree/etc/motd"
	printf 'a\0b' >"$tree/etc/binary"
	touch "$tree/etc/conf.d/x" "$tree/old/deep/file" "$tree/old/file"
	fw_ok firmware add "$tree" --name fw
	fw_ok prepare fw --name box
}

teardown() { fw_teardown; }

# inside SCRIPT: runs it in the instance, to the end.
inside() {
	fw_ok start box --attach -- /bin/sh -c "$1"
}

change() {
	inside 'echo 2.5 >>/etc/motd; printf "a\0c" >/etc/binary; chmod 600 /etc/conf.d/x; rm -r /old; mkdir /new; ln -s motd /new/link
		: >>/etc/firmware'
}

@test "nothing: before the first start, and after a run that wrote nothing" {
	fw_ok diff box
	assert_eq '' "$output"
	inside ': >>/etc/motd'
	fw_ok diff box --exit-code
	assert_eq '' "$output"
	fw_ok diff box --json
	assert_eq '[]' "$output"
}

@test "added, changed, deleted: lines, kinds, whole trees expanded" {
	change
	fw_ok diff box
	assert_eq 'changed  /etc/binary (content)
changed  /etc/conf.d/x (mode)
changed  /etc/motd (content)
added    /new
added    /new/link
deleted  /old
deleted  /old/deep
deleted  /old/deep/file
deleted  /old/file' "$output"
	fw_ok diff box --json
	assert_eq '["/etc/motd","changed",["content"],"file",14,18]' \
		"$(jq -c '.[] | select(.path == "/etc/motd") | [.path, .change, .kinds, .type, .size_before, .size]' <<<"$output")"
	fw_ok diff box --stat
	assert_has "$output" '2 added, 3 changed, 4 deleted, +4 bytes'
	run --separate-stderr fw diff box --exit-code
	assert_eq 1 "$status"
	run -125 --separate-stderr fw diff none --exit-code
}

@test "patch: git's words, and patch(1) makes the new file of it" {
	change
	fw_ok diff box --patch
	assert_has "$output" 'Binary files a/etc/binary and b/etc/binary differ'
	assert_has "$output" $'diff --git a/etc/conf.d/x b/etc/conf.d/x\nold mode 100644\nnew mode 100600'
	assert_has "$output" $'diff --git a/new/link b/new/link\nnew file mode 120777\n--- /dev/null\n+++ b/new/link\n@@ -0,0 +1 @@\n+motd\n\\ No newline at end of file'
	fw_ok diff box --patch --path /etc/motd
	cp -r "$tree/etc" "$BATS_TEST_TMPDIR/etc"
	patch -s -d "$BATS_TEST_TMPDIR" -p1 <<<"$output"
	assert_eq $'one\ntwo\nthree\n2.5' "$(<"$BATS_TEST_TMPDIR/etc/motd")"
}

@test "only some paths: --path, --ignore" {
	change
	fw_ok diff box --path /old/deep/ --path /new/link
	assert_eq $'added    /new/link\ndeleted  /old/deep\ndeleted  /old/deep/file' "$output"
	fw_ok diff box --ignore old --ignore '/etc/**' --ignore 'li?k'
	assert_eq 'added    /new' "$output"
	fw_fails 1 "is not absolute" diff box --path etc
	fw_fails 1 'is no glob pattern' diff box --ignore '['
	fw_fails 2 'exclude each other' diff box --json --patch
}

@test "a running instance, one after a reboot or crash, one whose firmware was deleted and made anew" {
	fw_ok start box -- /bin/sh -c 'echo more >>/etc/motd; while :; do busybox sleep 100; done'
	wait_until 5 has_diff '/etc/motd (content)'
	fw_ok kill box
	umount "$FW_ROOT"/workspaces/*/union
	fw_ok diff box
	assert_eq 'changed  /etc/motd (content)' "$output"
	fw_ok list --json
	assert_eq ready "$(jq -r '.[].state' <<<"$output")"
}

has_diff() {
	fw diff box | grep -qF "$1"
}

@test "a hostile instance: names escaped for a terminal, intact in -z and --json; no link followed" {
	inside 'busybox touch "/new
line" "/$(printf "\033[2J")"; ln -s /etc /escape; rm -r /etc; ln -s / /etc; busybox mkfifo /pipe'
	run --separate-stderr script -qec "$(printf '%q ' "$FIRMWARED" --root "$FW_ROOT" diff box)" /dev/null
	refute_has "$output" $'\033[2J'
	assert_has "$output" '"/new\nline"'
	assert_has "$output" 'changed  /etc (type)'
	fw_ok diff box --json
	jq -e 'any(.[]; .path == "/new\nline") and any(.[]; .path == "/\u001b[2J")' <<<"$output"
	fw diff box -z >"$BATS_TEST_TMPDIR/z"
	tr "\n\0" "?\n" <"$BATS_TEST_TMPDIR/z" | grep -qxF "/new?line"
	inside 'printf "\033[2J\n" >/lines'
	run --separate-stderr script -qec "$(printf '%q ' "$FIRMWARED" --root "$FW_ROOT" diff box --patch --path /lines)" /dev/null
	assert_has "$output" '+\x1b[2J'
}

@test "a name that is not UTF-8: its bytes are in path_base64" {
	inside 'busybox touch "/$(printf "a\377")"'
	fw_ok diff box --json
	assert_eq "$(printf '/a\377' | base64)" "$(jq -r '.[].path_base64' <<<"$output")"
}
