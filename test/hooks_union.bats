#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2030,SC2031,SC2154 # run sets these, and bats makes each test a subshell
# mount.hook as a union: overlayfs.

load hooks_helpers

setup() { hk_setup; }
teardown() { hk_teardown; }

# --- union ----------------------------------------------------------------------

@test "union: merged, labelled, writes land in rw, nothing in the firmware" {
	lower_and_union
	assert_eq 'firmwared_0123456789ab' "$(mount_field "$W/union" SOURCE)"
	assert_eq 'overlay' "$(mount_field "$W/union" FSTYPE)"
	assert_eq 'pristine' "$(<"$W/union/etc/firmware")"
	printf 'mine\n' >"$W/union/etc/firmware"
	assert_eq 'mine' "$(<"$W/rw/etc/firmware")"
	assert_eq 'pristine' "$(<"$W/source/etc/firmware")"
	rm "$W/union/etc/changes"
	[[ -c $W/rw/etc/changes ]] || fail 'no whiteout'
	hk_is 0 mount unmount union
	assert_free "$W/union"
	hk_is 0 mount unmount union
	hk_is 0 mount unmount union FIRMWARED_REASON=recover
	is_mounted "$W/ro" || fail 'took the lower along'
	assert_eq 'mine' "$(<"$W/rw/etc/firmware")"
	hk_is 0 mount unmount lower
}

@test "union: device nodes of the firmware do not act, setuid programs do" {
	lower_and_union
	refused cp /dev/null "$W/union/dev/null"
	refute_has ",$(mount_field "$W/union" VFS-OPTIONS)," ',nosuid,'
	hk_is 0 mount remount union
	refused cp /dev/null "$W/union/dev/null"
	[[ ,$(mount_field "$W/union" VFS-OPTIONS), == *,rw,* ]] || fail 'the remount made it read-only'
	hk_is 0 mount unmount union
	hk_is 0 mount unmount lower
}

# told ACTION: sets TOLD to what the hook would have mount(8) do, with its LIBMOUNT variables.
told() {
	mkdir -p "$BATS_TEST_TMPDIR/fake"
	user_hook "$BATS_TEST_TMPDIR/fake/mount" <<-'EOF'
		#!/bin/bash
		printf '%s\n' "LIBMOUNT_FORCE_MOUNT2=${LIBMOUNT_FORCE_MOUNT2:-}" "$@" >&2
	EOF
	hk_is 0 mount "$1" union "PATH=$BATS_TEST_TMPDIR/fake"
	TOLD=$stderr
}

@test "union: the features that forbid a changed lower are off by name, as kernels differ in their defaults" {
	local name
	told mount
	for name in redirect_dir metacopy index nfs_export xino; do
		assert_has "$TOLD" ",$name=off"
	done
	refute_has "$TOLD" volatile
}

# From 2.39 on mount(8) takes the new calls, which refuse a remount and values over 255 bytes: util-linux issues 2528, 2287.
@test "union: mount and remount go by mount(2), also where mount(8) would not" {
	told mount
	assert_has "$TOLD" 'LIBMOUNT_FORCE_MOUNT2=always'
	told remount
	assert_has "$TOLD" 'LIBMOUNT_FORCE_MOUNT2=always'
}

@test "union: an upper file has its content, no overlay attribute of those features" {
	lower_and_union
	chmod 600 "$W/union/etc/firmware"
	mv "$W/union/empty" "$W/union/moved" || fail 'cannot move a directory of the lower'
	(( $(stat -c %b "$W/rw/etc/firmware") > 0 )) || fail 'only the metadata was copied'
	assert_eq pristine "$(<"$W/rw/etc/firmware")"
	! getfattr -R -h -d -m - "$W/rw" 2>/dev/null | grep -E 'overlay.(metacopy|redirect)' || fail 'a feature is on'
	hk_is 0 mount unmount union
	hk_is 0 mount unmount lower
}

@test "union: three lowers, the top one first" {
	local i
	for i in 1 2 3; do
		mkdir -p "$W/l$i"
		printf '%s\n' "$i" >"$W/l$i/who"
		printf '%s\n' "$i" >"$W/l$i/only$i"
	done
	hk_is 0 mount mount union "FIRMWARED_LOWERDIR=$W/l1:$W/l2:$W/l3"
	assert_eq 1 "$(<"$W/union/who")"
	assert_eq 3 "$(<"$W/union/only3")"
	hk_is 0 mount unmount union
}

# long_list COUNT: sets LIST to lowers that are 190 bytes each; the last has a file.
long_list() {
	local i dir
	LIST=
	for (( i = 0; i < $1; i++ )); do
		printf -v dir '%s/%0*d' "$W" $((189 - ${#W})) "$i"
		mkdir "$dir"
		LIST+=${LIST:+:}$dir
	done
	touch "$dir/last"
}

@test "union: a list of lowers over 255 bytes" {
	long_list 18
	(( ${#LIST} > 3300 )) || fail 'not long'
	hk_is 0 mount mount union "FIRMWARED_LOWERDIR=$LIST"
	[[ -e $W/union/last ]] || fail 'the list was cut off'
	hk_is 0 mount unmount union
}

@test "union: a list longer than mount(2) takes is never cut off silently" {
	long_list 25
	hk mount mount union "FIRMWARED_LOWERDIR=$LIST"
	if (( status == 0 )); then
		[[ -e $W/union/last ]] || fail 'the list was cut off'
	else
		named "${#LIST} bytes"
		assert_free "$W/union"
	fi
	hk_is 0 mount unmount union
}

@test "union: a failed mount leaves nothing and says why" {
	hk_source
	hk mount mount union "FIRMWARED_RW=$W/gone"
	(( status != 0 && status != 5 )) || fail "status $status"
	[[ -n $stderr ]] || fail 'no reason'
	hk_is 0 mount unmount union FIRMWARED_REASON=failed-mount
	assert_free "$W/union"
}

@test "busy union: 5, nothing lost, and free later" {
	lower_and_union
	printf 'mine\n' >"$W/union/new"
	(cd "$W/union/etc" && hk_is 5 mount unmount union && named "$W/union")
	assert_eq mine "$(<"$W/union/new")"
	hk_is 0 mount unmount union
	hk_is 0 mount unmount lower
	assert_eq mine "$(<"$W/rw/new")"
}

# Stale look-ups: util-linux issue 2528 is why a plain mount -o remount does not do.
@test "remount: a file that came below is not found without it, and is with it" {
	lower_and_union
	[[ ! -e $W/union/etc/later ]] || fail 'already there'
	printf 'new\n' >"$W/source/etc/later"
	printf 'new\n' >"$W/source/etc/changes.new"
	[[ $(<"$W/union/etc/changes") == old ]] || fail 'the look-up'
	mv "$W/source/etc/changes.new" "$W/source/etc/changes"
	[[ ! -e $W/union/etc/later ]] || fail 'control: seen without a remount'
	[[ $(<"$W/union/etc/changes") == old ]] || fail 'control: seen without a remount'
	hk_is 0 mount remount union
	assert_eq new "$(<"$W/union/etc/later")"
	assert_eq new "$(<"$W/union/etc/changes")"
	hk_is 0 mount unmount union
	hk_is 0 mount unmount lower
}

@test "remount: with a process at work in the union; writes go on landing in rw" {
	lower_and_union
	exec {fd}>"$W/union/open"
	hk_is 0 mount remount union
	printf 'still\n' >&"$fd"
	exec {fd}>&-
	assert_eq still "$(<"$W/rw/open")"
	printf 'x\n' >"$W/union/after"
	assert_eq x "$(<"$W/rw/after")"
	hk_is 0 mount unmount union
	hk_is 0 mount unmount lower
}

@test "remount of what is not mounted fails" {
	hk mount remount union
	(( status != 0 )) || fail 'succeeded'
	[[ -n $stderr ]] || fail 'no reason'
}
