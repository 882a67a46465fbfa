#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2030,SC2031,SC2154,SC2317 # run sets these, and bats makes each test a subshell
# squashfs.hook, erofs.hook, disk.hook, verity.hook, and aufs.hook, which mounts no image.

load hooks_helpers

setup() { hk_setup; }
teardown() { hk_teardown; }

# cycle HOOK [VARIABLE=VALUE]...: $W/source from mount to unmount.
cycle() {
	local hook=$1 sum
	shift
	sum=$(sha256sum <"$W/source")
	hk_is 0 "$hook" mount lower "$@"
	assert_lower
	(cd "$W/ro" && hk_is 5 "$hook" unmount lower "$@")
	assert_lower
	hk_is 0 "$hook" unmount lower "$@"
	assert_free "$W/ro"
	wait_until 2 no_loops "$W"
	hk_is 0 "$hook" unmount lower
	hk_is 0 "$hook" unmount lower
	assert_eq "$sum" "$(sha256sum <"$W/source")" 'the image'
	assert_eq '' "$(ls -A "$W/state")" 'the state'
}

# odd_names HOOK: $W/one by each odd name.
odd_names() {
	local name
	mkdir "$W/in"
	for name in "${ODD_NAMES[@]}"; do
		ln "$W/one" "$W/in/$name"
		[[ $1 == verity ]] || hk_is 0 "$1" probe - "FIRMWARED_FIRMWARE=$W/in/$name"
		hk_is 0 "$1" mount lower "FIRMWARED_FIRMWARE=$W/in/$name"
		assert_lower
		hk_is 0 "$1" unmount lower "FIRMWARED_FIRMWARE=$W/in/$name"
		assert_free "$W/ro"
		rm "$W/in/$name"
	done
	wait_until 2 no_loops "$W"
}

# --- squashfs -------------------------------------------------------------------

@test "squashfs: probe knows its own, and only them" {
	local kind
	image squashfs "$W/source"
	hk_is 0 squashfs probe -
	for kind in ext2 erofs; do
		rm "$W/source"
		image "$kind" "$W/source"
		hk_is 3 squashfs probe -
	done
	mkdir "$W/dir"
	hk_is 3 squashfs probe - "FIRMWARED_FIRMWARE=$W/dir"
}

@test "squashfs: every compressor that mksquashfs and the kernel share" {
	local kind
	for kind in gzip lzo xz lz4 zstd; do
		rm -f "$W/source"
		image "squashfs-$kind" "$W/source"
		hk_is 0 squashfs probe -
		cycle squashfs
	done
}

@test "squashfs: a compressor that no kernel has is named" {
	image squashfs-gzip "$W/source"
	printf '\2' | dd of="$W/source" bs=1 seek=20 conv=notrunc status=none
	hk_is 1 squashfs mount lower
	named lzma
	assert_free "$W/ro"
}

@test "squashfs: cut off in the middle" {
	image squashfs "$W/source"
	truncate -s 500 "$W/source"
	hk_is 1 squashfs mount lower
	truncate -s 10 "$W/source"
	hk_is 3 squashfs probe - "FIRMWARED_FIRMWARE=$W/other"
	hk_is 1 squashfs mount lower
	assert_free "$W/ro"
	wait_until 2 no_loops "$W"
}

@test "squashfs: names that other programs take for their own" {
	image squashfs "$W/one"
	odd_names squashfs
}

@test "squashfs: no helper tool, no file system in the kernel: 4 and named" {
	image squashfs "$W/source"
	mkdir "$W/bin"
	hk_is 4 squashfs mount lower "PATH=$W/bin"
	named tool:mount tool:umount
}

# --- erofs ----------------------------------------------------------------------

# by_file: the kernel says that it can mount an erofs image without a loop device.
by_file() {
	{ zcat /proc/config.gz || cat "/boot/config-$(uname -r)"; } 2>/dev/null | grep '^CONFIG_EROFS_FS_BACKED_BY_FILE=y' >/dev/null
}

@test "erofs: probe and mount, plain and compressed, without a loop device where the kernel can" {
	local kind
	for kind in erofs erofs-lz4 erofs-lz4hc; do
		rm -f "$W/source"
		image "$kind" "$W/source"
		hk_is 0 erofs probe -
		hk_is 3 squashfs probe -
		cycle erofs
		hk_is 0 erofs mount lower
		! by_file || assert_eq 0 "$(loops "$W/source")" 'loop devices'
		hk_is 0 erofs unmount lower
	done
}

@test "erofs: a union over the image mounted as a file" {
	image erofs "$W/source"
	hk_is 0 erofs mount lower
	hk_is 0 mount mount union
	assert_eq pristine "$(<"$W/union/etc/firmware")"
	hk_is 0 mount unmount union
	hk_is 0 erofs unmount lower
}

@test "erofs: with a loop device where the kernel cannot: an image on tmpfs" {
	mkdir "$W/tmpfs"
	mount -t tmpfs for-the-test "$W/tmpfs"
	image erofs "$W/tmpfs/image"
	hk_is 0 erofs mount lower "FIRMWARED_FIRMWARE=$W/tmpfs/image"
	assert_lower
	hk_is 0 erofs unmount lower "FIRMWARED_FIRMWARE=$W/tmpfs/image"
	assert_free "$W/ro"
	wait_until 2 umount "$W/tmpfs"
}

@test "erofs: an image on an overlay still carries a union" {
	mkdir "$W"/{l,u,k,m,ro2}
	image erofs "$W/l/image"
	mount -t overlay -o "lowerdir=$W/l,upperdir=$W/u,workdir=$W/k" for-the-test "$W/m"
	hk_is 0 erofs mount lower "FIRMWARED_FIRMWARE=$W/m/image"
	assert_lower
	[[ $(mount_field "$W/ro" SOURCE) == /dev/loop* ]] || fail 'mounted as a file'
	hk_is 0 mount mount union
	assert_eq pristine "$(<"$W/union/etc/firmware")"
	hk_is 0 mount unmount union
	hk_is 0 erofs unmount lower
	wait_until 2 umount "$W/m"
}

@test "erofs: without perl, mount(8) does it in its own way" {
	local bin=$BATS_TEST_TMPDIR/bin tool
	image erofs "$W/source"
	mkdir "$bin"
	for tool in mount umount findmnt; do
		ln -s "$(type -P "$tool")" "$bin/$tool"
	done
	hk_is 0 erofs mount lower "PATH=$bin"
	assert_lower
	hk_is 0 erofs unmount lower "PATH=$bin"
}

@test "erofs: names that other programs take for their own" {
	image erofs "$W/one"
	odd_names erofs
}

# --- disk -----------------------------------------------------------------------

@test "disk: GPT, the first Linux file system is taken, not the boot partition" {
	disk gpt "$W/source" vfat:9 ext4:10
	hk_is 0 disk probe -
	hk_is 3 squashfs probe -
	cycle disk
}

@test "disk: MBR, with squashfs in it" {
	disk dos "$W/source" vfat:9 squashfs:4 ext2:10
	hk_is 0 disk probe -
	cycle disk
	hk_is 0 disk mount lower
	assert_eq squashfs "$(mount_field "$W/ro" FSTYPE)"
	hk_is 0 disk unmount lower
}

@test "disk: partition=N takes that one; one that is not there is named with those that are" {
	disk gpt "$W/source" ext4:10 squashfs:4 none:2
	hk_is 0 disk mount lower FIRMWARED_OPT_PARTITION=2
	assert_eq squashfs "$(mount_field "$W/ro" FSTYPE)"
	hk_is 0 disk unmount lower
	cycle disk FIRMWARED_OPT_PARTITION=2
	hk_is 1 disk mount lower FIRMWARED_OPT_PARTITION=7
	named 'partition: no 7' '1 2 3'
	hk_is 1 disk mount lower FIRMWARED_OPT_PARTITION=3
	named 'partition 3'
	hk_is 1 disk mount lower FIRMWARED_OPT_PARTITION=../1
	named 'not a number'
	assert_free "$W/ro"
	wait_until 2 no_loops "$W"
}

@test "disk: two partitions of one image at the same time" {
	disk gpt "$W/source" ext4:10 ext2:10
	mkdir "$W"/{ro2,state2}
	hk_is 0 disk mount lower
	hk_is 0 disk mount lower FIRMWARED_OPT_PARTITION=2 "FIRMWARED_RO=$W/ro2" "FIRMWARED_STATE=$W/state2"
	assert_eq pristine "$(<"$W/ro2/etc/firmware")"
	hk_is 0 disk unmount lower
	assert_eq pristine "$(<"$W/ro2/etc/firmware")"
	hk_is 0 disk unmount lower "FIRMWARED_RO=$W/ro2" "FIRMWARED_STATE=$W/state2"
}

@test "disk: a logical partition" {
	image ext2 "$BATS_TEST_TMPDIR/part"
	truncate -s 24M "$W/source"
	printf 'label: dos\nstart=2048, size=20M, type=5\nstart=4096, size=10M\n' | sfdisk -q "$W/source"
	dd if="$BATS_TEST_TMPDIR/part" of="$W/source" bs=512 seek=4096 conv=notrunc status=none
	cycle disk
	cycle disk FIRMWARED_OPT_PARTITION=5
}

@test "disk: a table for sectors of 4096 bytes" {
	local device
	image ext4 "$BATS_TEST_TMPDIR/part"
	truncate -s 24M "$W/source"
	device=$(losetup -f --show -b 4096 "$W/source")
	printf 'label: gpt\nsize=10M\n' | sfdisk -q "$device"
	losetup -d "$device"
	wait_until 2 no_loops "$W/source"
	dd if="$BATS_TEST_TMPDIR/part" of="$W/source" bs=1M seek=1 conv=notrunc status=none
	hk_is 0 disk probe -
	cycle disk
}

@test "disk: nothing but boot and swap in it" {
	disk gpt "$W/source" vfat:9 none:3
	hk_is 0 disk probe -
	hk_is 1 disk mount lower
	named 'no file system'
	assert_free "$W/ro"
}

@test "disk: a file system alone is not a disk, an ISO image for sticks neither" {
	image ext4 "$W/source"
	hk_is 3 disk probe -
	rm "$W/source"
	image vfat "$W/source"
	hk_is 3 disk probe -
	rm "$W/source"
	image iso9660 "$W/source"
	hk_is 3 disk probe -
	printf 'label: dos\nstart=64, size=100, type=83\n' | sfdisk -q --no-tell-kernel "$W/source" || true
	hk_is 3 disk probe -
}

@test "disk: names that other programs take for their own" {
	disk gpt "$W/one" ext2:10
	odd_names disk
}

# --- verity ---------------------------------------------------------------------

# with_verity BODY: runs the function in a namespace that looks as if the kernel had dm-verity, with a veritysetup that
# checks the whole image before it makes a device without checks. What it was told is in $W/told.
with_verity() {
	local made=
	[[ -d /dev/mapper ]] || { mkdir /dev/mapper && made=yes; }
	mkdir -p "$W/fake" "$W/mapper"
	user_hook "$W/fake/veritysetup" <<-'EOF'
		#!/bin/bash
		printf '%s\n' "$*" >>"${FIRMWARED_STATE%/state}/told"
		case $1 in
		open)
			/usr/sbin/veritysetup verify "$2" "$3" "$4" "$6" "$7" &&
				ln -s "$(losetup -r -f --show "$4")" "/dev/mapper/$5"
			;;
		close) losetup -d "/dev/mapper/$3" && rm "/dev/mapper/$3" ;;
		esac
	EOF
	run in_verity "$1"
	[[ -z $made ]] || rmdir /dev/mapper
	(( status == 0 )) || fail "$1: $output"
}

in_verity() {
	local functions
	functions=$(declare -f; declare -p W HOOKS HOOK_PATH ROOT_HASH HASH BATS_TEST_TMPDIR)
	# shellcheck disable=SC2016 # for the inner shell
	unshare -m --propagation private bash -c '
		set -e
		eval "$1"
		run() { set +e; shift; output=$("$@" 2>"$W/stderr"); status=$?; stderr=$(<"$W/stderr"); set -e; }
		mount -t tmpfs fake /sys/module && mkdir /sys/module/dm_verity
		mount -t tmpfs fake /sys/class/misc && mkdir /sys/class/misc/device-mapper
		mount --bind "$W/mapper" /dev/mapper
		"$2"' - "$functions" "$1" 3>&-
}

# formatted KIND: $W/source and $W/hash, ROOT_HASH.
formatted() {
	image "$1" "$W/source"
	truncate -s %4096 "$W/source"
	ROOT_HASH=$(veritysetup format "$W/source" "$W/hash" | sed -n 's/^Root hash:[[:space:]]*//p')
	[[ $ROOT_HASH =~ ^[0-9a-f]{64}$ ]] || fail 'no root hash'
	HASH=$W/hash
}

verity_cycle() {
	local with=("PATH=$W/fake:$HOOK_PATH" "FIRMWARED_OPT_ROOTHASH=$ROOT_HASH" "FIRMWARED_OPT_HASH=$HASH")
	hk_is 0 verity mount lower "${with[@]}"
	assert_lower
	[[ -n $(ls "$W/mapper") ]] || fail 'no device'
	(cd "$W/ro" && hk_is 5 verity unmount lower "${with[@]}")
	assert_lower
	hk_is 0 verity unmount lower "${with[@]}"
	assert_free "$W/ro"
	assert_eq '' "$(ls -A "$W/mapper")$(ls -A "$W/state")" 'left'
	hk_is 0 verity unmount lower "${with[@]}"
	hk_is 0 verity unmount lower "${with[@]}"
}

verity_wrong() {
	hk_is 1 verity mount lower "PATH=$W/fake:$HOOK_PATH" "FIRMWARED_OPT_ROOTHASH=${ROOT_HASH//[0-9]/0}" "FIRMWARED_OPT_HASH=$HASH"
	assert_free "$W/ro"
	assert_eq '' "$(ls -A "$W/mapper")$(ls -A "$W/state")" 'left'
}

@test "verity: squashfs and erofs, the hash tree in a file (dm-verity itself is a stand-in)" {
	local kind
	for kind in squashfs erofs; do
		rm -f "$W/source" "$W/hash"
		formatted "$kind"
		with_verity verity_cycle
		grep -q "^open --hash-offset=0 -- $W/source firmwared_0123456789ab-[0-9a-f]\{8\} $W/hash $ROOT_HASH$" "$W/told" || fail "$(<"$W/told")"
	done
}

@test "verity: a wrong root hash mounts nothing and leaves nothing (dm-verity itself is a stand-in)" {
	formatted squashfs
	with_verity verity_wrong
}

@test "verity: options missing or wrong are named" {
	HASH=$W/hash ROOT_HASH=00
	image squashfs "$W/source"
	verity_options() {
		local path="PATH=$W/fake:$HOOK_PATH" it
		hk_is 1 verity mount lower "$path"
		named roothash
		hk_is 1 verity mount lower "$path" FIRMWARED_OPT_ROOTHASH=xyz
		named roothash
		hk_is 1 verity mount lower "$path" FIRMWARED_OPT_ROOTHASH=00
		named 'option hash'
		for it in relative -x /no/such/file '1 2'; do
			hk_is 1 verity mount lower "$path" FIRMWARED_OPT_ROOTHASH=00 "FIRMWARED_OPT_HASH=$it"
			named 'option hash'
		done
	}
	with_verity verity_options
}

@test "verity: a hash tree inside the image is given by its place" {
	HASH=4096 ROOT_HASH=00
	image squashfs "$W/source"
	verity_place() {
		hk verity mount lower "PATH=$W/fake:$HOOK_PATH" FIRMWARED_OPT_ROOTHASH=00 FIRMWARED_OPT_HASH=4096
		(( status == 1 )) || fail "status $status: $stderr"
	}
	with_verity verity_place
	grep -q "^open --hash-offset=4096 -- $W/source [^ ]* $W/source 00$" "$W/told" || fail "$(<"$W/told")"
}

@test "verity: without veritysetup or the kernel's dm-verity: 4 and named" {
	local bin=$BATS_TEST_TMPDIR/bin tool
	mkdir "$bin"
	for tool in mount umount findmnt blkid; do
		ln -s "$(type -P "$tool")" "$bin/$tool"
	done
	image squashfs "$W/source"
	hk_is 4 verity mount lower "PATH=$bin"
	named tool:veritysetup
	[[ -e /sys/module/dm_verity ]] || named dm:verity
	hk_is 3 verity probe -
	assert_free "$W/ro"
}

# --- aufs -----------------------------------------------------------------------

@test "aufs: 4 where the kernel has none, 1 with the reason under AppArmor" {
	local it
	if ! grep -qw aufs /proc/filesystems; then
		hk_is 4 aufs mount union
		named fs:aufs
	fi
	for it in apparmor apparmor+userns; do
		hk_is 1 aufs mount union "FIRMWARED_CONFINEMENT=$it"
		named AppArmor
	done
	hk_is 3 aufs probe -
	assert_free "$W/union"
}

@test "aufs: what mount(8) is told" {
	mkdir "$W/fake"
	ln -s "$(type -P umount)" "$(type -P findmnt)" "$W/fake/"
	user_hook "$W/fake/mount" <<-'EOF'
		#!/bin/bash
		printf '%s\n' "$*" >&2
	EOF
	user_hook "$W/fake/modprobe" <<-'EOF'
		#!/bin/bash
		exit 0
	EOF
	hk_is 0 aufs mount union "PATH=$W/fake" "FIRMWARED_LOWERDIR=/a:/b"
	assert_eq "-n -i -t aufs -o nodev,br:$W/rw=rw:/a=ro:/b=ro firmwared_0123456789ab $W/union" "$stderr"
}
