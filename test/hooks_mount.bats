#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2030,SC2031,SC2154 # run sets these, and bats makes each test a subshell
# mount.hook: directories, images that mount(8) knows, overlayfs.

load hooks_helpers

setup() { hk_setup; }
teardown() { hk_teardown; }

# lower_and_union: both mounted over a firmware directory.
lower_and_union() {
	[[ -e $W/source ]] || hk_source
	hk_is 0 mount mount lower
	hk_is 0 mount mount union
}

# only TOOL...: prints a directory for PATH that has just these.
only() {
	local tool
	mkdir -p "$BATS_TEST_TMPDIR/bin"
	for tool; do
		ln -sf "$(type -P "$tool")" "$BATS_TEST_TMPDIR/bin/$tool"
	done
	printf '%s\n' "$BATS_TEST_TMPDIR/bin"
}

# --- lower: directories ---------------------------------------------------------

@test "directory: probe, mount read-only, unmount three times" {
	hk_source
	hk_is 0 mount probe -
	hk_is 0 mount mount lower
	assert_lower
	refused cp /dev/null "$W/ro/dev/null"
	hk_is 0 mount unmount lower
	assert_free "$W/ro"
	hk_is 0 mount unmount lower
	hk_is 0 mount unmount lower FIRMWARED_REASON=recover
	assert_eq 'pristine' "$(<"$W/source/etc/firmware")"
}

@test "directory: names that other programs take for their own" {
	local name
	for name in "${ODD_NAMES[@]}"; do
		hk_tree "$W/in/$name"
		hk_is 0 mount probe - "FIRMWARED_FIRMWARE=$W/in/$name"
		hk_is 0 mount mount lower "FIRMWARED_FIRMWARE=$W/in/$name"
		assert_lower
		hk_is 0 mount unmount lower "FIRMWARED_FIRMWARE=$W/in/$name"
		assert_free "$W/ro"
	done
}

@test "directory: gone before the unmount" {
	hk_source
	hk_is 0 mount mount lower
	rm -r "$W/source"
	hk_is 0 mount unmount lower
	assert_free "$W/ro"
}

@test "directory: mounts inside do not come along, nor those made later" {
	hk_source
	mount --bind "$W/source" "$W/source"
	mount --make-shared "$W/source"
	mount -t tmpfs inside "$W/source/empty"
	hk_is 0 mount mount lower
	assert_free "$W/ro/empty"
	mount -t tmpfs later "$W/source/dev"
	assert_free "$W/ro/dev"
	hk_is 0 mount unmount lower
	umount "$W/source/dev" "$W/source/empty" "$W/source"
}

# keep_namespace: starts a process in a slave mount namespace, whose pid is OTHER.
keep_namespace() {
	unshare -m --propagation slave sleep 60 3>&- &
	OTHER=$!
	wait_until 5 other_is_apart
}
other_is_apart() { [[ $(readlink "/proc/$OTHER/ns/mnt") != "$(readlink /proc/self/ns/mnt)" && $(<"/proc/$OTHER/comm") == sleep ]]; }

@test "the unmounts reach the copies in other namespaces, as the state directory is shared" {
	hk_source
	mount --bind "$W" "$W"
	mount --make-private "$W"
	mount --make-shared "$W"
	hk_is 0 mount mount lower
	hk_is 0 mount mount union
	keep_namespace
	assert_eq 2 "$(grep -cE "$W/(ro|union) " "/proc/$OTHER/mountinfo")" 'copies of the mounts'
	hk_is 0 mount unmount union
	hk_is 0 mount unmount lower
	assert_eq 0 "$(grep -cE "$W/(ro|union) " "/proc/$OTHER/mountinfo")" 'copies after the unmounts'
	kill "$OTHER"
	wait "$OTHER" || true
	umount "$W"
}

# --- lower: images --------------------------------------------------------------

# image_cycle: the image $W/source, from probe to unmount.
image_cycle() {
	local sum
	sum=$(sha256sum <"$W/source")
	hk_is 0 mount probe -
	hk_is 0 mount mount lower
	assert_lower
	[[ -u $W/ro/bin/setuid ]] || fail 'lost the setuid bit'
	hk_is 0 mount unmount lower
	assert_free "$W/ro"
	wait_until 2 no_loops "$W/source"
	hk_is 0 mount unmount lower
	assert_eq "$sum" "$(sha256sum <"$W/source")" 'the image'
}

@test "image: ext2, ext3, ext4, all by the ext4 driver" {
	local kind
	for kind in ext2 ext3 ext4; do
		rm -f "$W/source"
		image "$kind" "$W/source"
		hk_is 0 mount mount lower
		assert_eq ext4 "$(mount_field "$W/ro" FSTYPE)"
		hk_is 0 mount unmount lower
		image_cycle
	done
}

@test "image: ext4 whose superblock asks for a panic on errors, and whose log needs a replay" {
	image ext4 "$W/source"
	tune2fs -e panic "$W/source" >/dev/null
	debugfs -w -R 'feature needs_recovery' "$W/source" >/dev/null 2>&1
	dumpe2fs -h "$W/source" 2>/dev/null | grep -q needs_recovery || fail 'the log of the test image is clean'
	image_cycle
	hk_is 0 mount mount lower
	assert_has "$(mount_field "$W/ro" OPTIONS)" errors=continue
	hk_is 0 mount unmount lower
}

@test "image: xfs, and a second copy of it at the same time" {
	image xfs "$W/source"
	image_cycle
	cp --sparse=always "$W/source" "$W/copy"
	mkdir "$W/ro2"
	hk_is 0 mount mount lower
	hk_is 0 mount mount lower "FIRMWARED_FIRMWARE=$W/copy" "FIRMWARED_RO=$W/ro2"
	assert_eq pristine "$(<"$W/ro2/etc/firmware")"
	hk_is 0 mount unmount lower
	hk_is 0 mount unmount lower "FIRMWARED_RO=$W/ro2"
}

@test "image: btrfs" {
	image btrfs "$W/source"
	image_cycle
}

@test "image: squashfs and erofs too, were their hooks masked" {
	image squashfs "$W/source"
	image_cycle
	rm "$W/source"
	image erofs "$W/source"
	image_cycle
}

@test "image: iso9660 where the kernel has it, else probe says so; never vfat, which is no overlay's lower" {
	image vfat "$W/source"
	hk_is 3 mount probe -
	named vfat
	rm "$W/source"
	image iso9660 "$W/source"
	if grep -qw iso9660 /proc/filesystems || modprobe -q iso9660 2>/dev/null; then
		hk_is 0 mount probe -
		hk_is 0 mount mount lower
		hk_is 0 mount unmount lower
	else
		hk_is 4 mount probe -
		named iso9660
		hk_is 4 mount mount lower
		named iso9660
	fi
}

@test "image: names that other programs take for their own" {
	local name
	mkdir "$W/in"
	image ext2 "$W/one"
	for name in "${ODD_NAMES[@]}"; do
		ln "$W/one" "$W/in/$name"
		hk_is 0 mount probe - "FIRMWARED_FIRMWARE=$W/in/$name"
		hk_is 0 mount mount lower "FIRMWARED_FIRMWARE=$W/in/$name"
		assert_lower
		hk_is 0 mount unmount lower "FIRMWARED_FIRMWARE=$W/in/$name"
		rm "$W/in/$name"
	done
	wait_until 2 no_loops "$W"
}

@test "image: removed, or replaced, before the unmount" {
	image ext2 "$W/source"
	hk_is 0 mount mount lower
	rm "$W/source"
	hk_is 0 mount unmount lower
	assert_free "$W/ro"
	image ext2 "$W/source"
	hk_is 0 mount mount lower
	image ext2 "$W/other"
	mv "$W/other" "$W/source"
	hk_is 0 mount unmount lower
	assert_free "$W/ro"
	wait_until 2 no_loops "$W"
}

@test "image: probe mounts nothing and takes no loop device" {
	image ext4 "$W/source"
	local before
	before=$(grep -F "$W" /proc/self/mountinfo || true)
	hk_is 0 mount probe -
	assert_eq "$before" "$(grep -F "$W" /proc/self/mountinfo || true)"
	assert_eq 0 "$(loops "$W/source")"
}

@test "image: swap is no firmware" {
	truncate -s 1M "$W/source"
	mkswap "$W/source" >/dev/null
	hk_is 3 mount probe -
	hk_is 4 mount mount lower
	named swap
	assert_free "$W/ro"
}

@test "busy lower: 5, nothing lost, and free later" {
	image ext2 "$W/source"
	hk_is 0 mount mount lower
	(cd "$W/ro" && hk_is 5 mount unmount lower && named "$W/ro")
	assert_lower
	hk_is 0 mount unmount lower
	assert_free "$W/ro"
}

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

# --- cost -----------------------------------------------------------------------

@test "the good path starts one mount(8) or umount(8) and no other program" {
	local bin
	hk_source
	bin=$(only mount)
	hk_is 0 mount mount lower "PATH=$bin"
	hk_is 0 mount mount union "PATH=$bin"
	hk_is 0 mount remount union "PATH=$bin"
	rm "$bin/mount"
	bin=$(only umount)
	hk_is 0 mount unmount union "PATH=$bin"
	hk_is 0 mount unmount lower "PATH=$bin"
	rm "$bin/umount"
	bin=$(only mount)
	rm -r "$W/source"
	image ext2 "$W/source"
	hk_is 0 mount mount lower "PATH=$bin"
	hk_is 0 mount unmount lower
}

# without_overlay NAME ACTION LAYER: as hk, where /proc/filesystems has no overlay and there is no modprobe.
without_overlay() {
	grep -v overlay /proc/filesystems >"$BATS_TEST_TMPDIR/filesystems"
	only mount >/dev/null
	user_hook "$W/wrapped.hook" <<-EOF
		#!/bin/bash
		exec unshare -m --propagation private /bin/bash -c \
			'/bin/mount --bind "$BATS_TEST_TMPDIR/filesystems" /proc/filesystems && PATH=$BATS_TEST_TMPDIR/bin exec "$HOOKS/mount.hook"'
	EOF
	hk_is 4 "$W/wrapped.hook" "$@"
}

@test "a kernel without overlayfs: 4 and named" {
	without_overlay mount union
	named overlay
}

@test "a machine without blkid: 4 and named" {
	printf 'x\n' >"$W/source"
	only mount >/dev/null
	hk_is 4 mount probe - "PATH=$BATS_TEST_TMPDIR/bin"
	named blkid
}
