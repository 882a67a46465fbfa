#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside the virtual machine: the lower hooks whose file systems or device-mapper
# targets an ordinary build machine's kernel may lack, through the program.

load ../helpers

setup() {
	fw_setup
	mkdir "$BATS_TEST_TMPDIR/tree"
	tree=$BATS_TEST_TMPDIR/tree
	mkdir -p "$tree/bin" "$tree/etc"
	cp /bin/busybox "$tree/bin/busybox"
	printf 'checked\n' >"$tree/etc/name"
}

teardown() { fw_teardown; }

# shows F: an instance of F shows the tree's file, keeps what it writes, and goes.
shows() {
	fw_ok run "$1" --name box -- /bin/busybox sh -c 'busybox cat /etc/name && echo more >/etc/more'
	assert_eq checked "$output"
	[[ $(<"$FW_ROOT"/workspaces/*/rw/etc/more) == more ]]
	fw_ok drop box
	fw_ok firmware remove "$1"
}

# seal IMAGE: appends the hash tree; sets ROOTHASH and HASH (its offset).
seal() {
	truncate -s %4096 "$1"
	HASH=$(stat -c %s "$1")
	ROOTHASH=$(veritysetup format --hash-offset="$HASH" -- "$1" "$1" | sed -n 's/^Root hash:[[:space:]]*//p')
	[[ $ROOTHASH ]]
}

@test "verity: squashfs and erofs, the hash in the image and in a file of its own" {
	local image=$BATS_TEST_TMPDIR/image

	mksquashfs "$tree" "$image" -quiet -no-progress
	seal "$image"
	fw_ok firmware add "$image" --name sealed --hook verity --option roothash="$ROOTHASH" --option hash="$HASH"
	shows sealed

	rm "$image"
	mkfs.erofs --quiet "$image" "$tree"
	ROOTHASH=$(veritysetup format -- "$image" "$image.hash" | sed -n 's/^Root hash:[[:space:]]*//p')
	fw_ok firmware add "$image" --name sealed --hook verity --option roothash="$ROOTHASH" --option hash="$image.hash"
	shows sealed
	run dmsetup ls
	assert_eq 'No devices found' "$output"
}

@test "verity: another root hash is refused, a changed block is an error where it is read" {
	local image=$BATS_TEST_TMPDIR/image

	head -c 300000 /dev/urandom >"$tree/etc/random"
	mksquashfs "$tree" "$image" -quiet -no-progress -noI -noD -noF
	seal "$image"
	fw_ok firmware add "$image" --name other --hook verity --option hash="$HASH" \
		--option roothash="$(printf '%064d' 7)"
	fw_fails 1 'root hash' prepare other
	fw_ok firmware remove other

	# Before it is added, or firmwared's own sha256 would tell.
	printf 'X' | dd of="$image" bs=1 seek=100000 conv=notrunc status=none
	fw_ok firmware add "$image" --name changed --hook verity --option roothash="$ROOTHASH" --option hash="$HASH"
	run --separate-stderr fw run changed --rm -- /bin/busybox cat /etc/random
	((status != 0))
}

@test "mount.hook: an iso9660 image; a vfat one, no overlay can stand on it" {
	local image=$BATS_TEST_TMPDIR/image

	genisoimage -quiet -R -o "$image" "$tree"
	fw_ok firmware add "$image" --name disc
	fw_ok firmware show disc
	assert_has "$output" mount
	shows disc

	rm "$image"
	mkfs.vfat -C "$image" 16384 >/dev/null
	fw_fails 1 'no hook can mount it' firmware add "$image"
}
