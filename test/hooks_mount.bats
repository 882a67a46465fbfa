#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2030,SC2031,SC2154 # run sets these, and bats makes each test a subshell
# mount.hook as a lower: directories, images that mount(8) knows. test/hooks_union.bats has its unions.

load hooks_helpers

setup() { hk_setup; }
teardown() { hk_teardown; }

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
