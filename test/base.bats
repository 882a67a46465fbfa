#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Firmwares on a base: each lower by a hook of its own, one union over all.

load helpers

setup() {
	fw_setup
	L=$BATS_TEST_TMPDIR
	# A union hook that notes the list that it gets, and lets the shipped one work.
	mkdir "$L/hooks"
	export FIRMWARED_HOOK_DIRS=$L/hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	cat >"$L/hooks/noting.hook" <<-END
		#!/bin/sh
		[ "\$FIRMWARED_ACTION" != describe ] || { printf 'api=1\nlayers=union\nsummary=test\nremount=live\n'; exit 0; }
		[ "\$FIRMWARED_ACTION" != mount ] || printf '%s\n' "\$FIRMWARED_LOWERDIR" >'$L/lowerdir'
		exec '${FIRMWARED_HOOK_DIRS##*:}/mount.hook'
	END
	chmod 755 "$L/hooks/noting.hook"
}
teardown() { fw_teardown; }

# layer NAME: a tree of a few files, some of which the others have as well.
layer() {
	mkdir -p "$L/$1/etc/$1"
	printf '%s\n' "$1" | tee "$L/$1/etc/who" "$L/$1/etc/only-$1" >"$L/$1/etc/$1/file"
}

# stack: three deep; top is a directory, middle and bottom are images of other formats.
stack() {
	new_root "$L/bottom"
	layer bottom
	layer middle
	layer top
	rm "$L/top/etc/who"
	echo bottom >"$L/bottom/etc/low"
	echo middle | tee "$L/middle/etc/low" >"$L/middle/etc/changes"
	mkfs.ext4 -q -d "$L/bottom" "$L/bottom.img" 16M
	mksquashfs "$L/middle" "$L/middle.img" -quiet -no-progress >&2
	fw_ok firmware add "$L/bottom.img" --name bottom
	fw_ok firmware add "$L/middle.img" --name middle --base bottom
	fw_ok firmware add "$L/top" --name top --base middle
}

# lower F: where a firmware is mounted.
lower() { fw firmware show "$1" --json | jq -r '.mounts[0]'; }

logged() { fw logs box | tr -d '\r' | grep -qx "$1"; }

@test "three deep, three formats: each by its hook, listed top first, and the topmost file is seen" {
	stack
	assert_eq 'squashfs mount mount' "$(fw firmware list --json | jq -r 'map({(.name): .hook}) | add | [.middle, .bottom, .top] | join(" ")')"
	export FIRMWARED_USERNS=off # else the hook gets idmapped clones of the lowers
	fw_ok prepare top --name box --union noting
	unset FIRMWARED_USERNS
	assert_eq "$(lower top):$(lower middle):$(lower bottom)" "$(<"$L/lowerdir")"
	assert_eq 3 "$(tr ':' '\n' <"$L/lowerdir" | sort -u | wc -l)"
	fw_ok run top --rm -- /bin/sh -c 'cd /etc; cat who low firmware only-top only-middle only-bottom top/file bottom/file'
	assert_eq 'middle middle pristine top middle bottom top bottom' "${lines[*]}"
	# What lies below is a firmware of its own still.
	fw_ok run middle --rm -- /bin/cat /etc/who
	assert_eq middle "$output"
	fw_ok run bottom --rm -- /bin/cat /etc/who
	assert_eq bottom "$output"
}

@test "what an instance deletes and writes hides each of the lowers, and changes none" {
	local before rw
	stack
	before=$(tree_sum "$L/top" && tree_sum "$L/middle.img" && tree_sum "$L/bottom.img")
	fw_ok prepare top --name box
	fw_ok start box -- /bin/sh -c '
		cd /etc && rm only-top only-middle only-bottom low && rm -r bottom && mkdir bottom && echo mine >who
		echo done >/state; exec sleep 1000'
	rw=$(fw get box workspace)/rw
	wait_until 5 test -s "$rw/state"
	fw_ok restart box # a new union on the same rw
	fw_ok kill box
	cd "$rw/../union/etc"
	assert_eq mine "$(<./who)"
	assert_eq '' "$(ls -d only-* low 2>/dev/null)"
	assert_eq '' "$(ls bottom)"
	cd "$rw/etc"
	for name in only-top only-middle only-bottom low; do
		assert_eq 'character special file 0:0' "$(stat -c '%F %t:%T' "$name")"
	done
	cd /
	fw_ok drop box
	assert_eq "$before" "$(tree_sum "$L/top" && tree_sum "$L/middle.img" && tree_sum "$L/bottom.img")"
}

@test "a partition of a disk image, an image on it, a directory on both" {
	layer middle
	layer top
	mkfs.erofs "$L/middle.img" "$L/middle" >&2
	truncate -s 20M "$L/disk.img"
	printf 'label: gpt\nsize=16M\n' | sfdisk -q "$L/disk.img" >&2
	dd if="$(ext2_image)" of="$L/disk.img" bs=1M seek=1 conv=notrunc,sparse status=none
	fw_ok firmware add "$L/disk.img" --name disk
	fw_ok firmware add "$L/middle.img" --name middle --base disk
	fw_ok firmware add "$L/top" --name top --base middle
	assert_eq 'disk erofs mount' "$(fw firmware list --json | jq -r 'map({(.name): .hook}) | add | [.disk, .middle, .top] | join(" ")')"
	fw_ok run top --rm -- /bin/sh -c 'cd /etc; cat who only-middle firmware'
	assert_eq 'top middle pristine' "${lines[*]}"
}

@test "the one in the middle is rebuilt: restart shows it, and the others stay where they were" {
	local old
	new_root "$L/bottom"
	layer middle
	layer top
	rm "$L/top/etc/who"
	fw_ok firmware add "$L/bottom" --name bottom
	fw_ok firmware add "$L/middle" --name middle --base bottom
	fw_ok firmware add "$L/top" --name top --base middle
	export FIRMWARED_USERNS=off # else the hook gets idmapped clones of the lowers
	fw_ok prepare top --name box --union noting
	fw_ok start box --unconfined -- /bin/sh -c 'cat /etc/who; exec sleep 1000'
	wait_until 5 logged middle
	IFS=: read -ra old <"$L/lowerdir"
	rm -r "$L/middle" # the build
	mkdir -p "$L/middle/etc"
	echo rebuilt >"$L/middle/etc/who"
	fw_ok restart box
	wait_until 5 logged rebuilt
	IFS=: read -ra new <"$L/lowerdir"
	assert_eq "${old[0]} ${old[2]}" "${new[0]} ${new[2]}"
	[[ ${old[1]} != "${new[1]}" ]] || fail 'the old generation is still there'
	refute_has "$(findmnt -n -o TARGET)" "${old[1]}" # nobody stands on it
	assert_eq "$(lower middle)" "${new[1]}"
}

@test "the image in the middle is overwritten: a start is refused by its name, until it is put back" {
	stack
	fw_ok prepare top --name box
	cp "$L/middle.img" "$L/kept.img"
	echo 'new' >"$L/middle/etc/who"
	mksquashfs "$L/middle" "$L/new.img" -quiet -no-progress >&2
	mv "$L/new.img" "$L/middle.img"
	run --separate-stderr fw run top --rm -- /bin/true
	assert_eq 125 "$status"
	assert_has "$stderr" 'middle.img of firmware middle has changed since it was added'
	assert_has "$stderr" box
	mv "$L/kept.img" "$L/middle.img"
	fw_ok run top --rm -- /bin/cat /etc/who
	assert_eq middle "$output"
}

@test "none but the topmost can be removed, and only in order" {
	stack
	fw_fails 1 'cannot remove firmware middle: in use by firmware top' firmware remove middle
	fw_fails 1 'cannot remove firmware bottom: in use by firmware middle' firmware remove bottom
	fw_ok prepare top --name box
	fw_fails 1 'instances stand on it: box' firmware unmount middle
	fw_fails 1 'cannot remove firmware middle: in use by firmware top' firmware remove middle
	fw_ok drop box
	fw_ok firmware remove top middle bottom
}

@test "unions never nest: nothing of an instance or of a mounted lower becomes a firmware" {
	local work other=$BATS_TEST_TMPDIR/other
	stack
	fw_ok prepare top --name box
	work=$(fw get box workspace)
	for dir in union ro rw workdir union/etc; do
		fw_fails 1 'unions never nest' firmware add "$work/$dir"
		fw_fails 1 'unions never nest' firmware add "$work/$dir" --base bottom
	done
	fw_fails 1 'unions never nest' firmware add "$work/union/etc/who"
	fw_fails 1 'no firmware named "box"' firmware add "$L/bottom" --base box
	run --separate-stderr fw run "$work/union" --rm -- /bin/true
	assert_eq 125 "$status"
	assert_has "$stderr" 'unions never nest'
	# Nor from another root, or through a link or a bind.
	mkdir "$other" "$L/bound"
	ln -s "$work/union" "$L/link"
	fw_fails 1 'unions never nest' firmware add "$L/link"
	run_err 1 'unions never nest' "$FIRMWARED" --root "$other" firmware add "$work/union"
	mount --bind "$work/union" "$L/bound"
	run --separate-stderr fw firmware add "$L/bound"
	umount "$L/bound"
	assert_eq 1 "$status"
	assert_has "$stderr" 'unions never nest'
	assert_eq 3 "$(fw firmware list --json | jq length)"
}
