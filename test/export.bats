#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# export: an instance's tree, or what it changed, as a tar file.

load helpers

setup() {
	fw_setup
	export FIRMWARED_USERNS=off # unions are compared from outside: with the owners that are on disk
	tree=$BATS_TEST_TMPDIR/final out=$BATS_TEST_TMPDIR/out
	mkdir "$out"
	new_root "$tree"
	rmdir "$tree/proc" # the program brings it, it is no part of the firmware
	mkdir -p "$tree/old/deep" "$tree/turned/deep" "$tree/data"
	printf 'one\n' >"$tree/data/file"
	ln "$tree/data/file" "$tree/data/hard"
	touch "$tree/old/deep/file" "$tree/old/file" "$tree/turned/deep/file" "$tree/data/[glob] *"
	mknod "$tree/data/zero" c 1 5
	mknod "$tree/data/disk" b 7 300
	setfattr -n user.note -v hello "$tree/data/file"
	setfattr -n trusted.note -v there "$tree/old"
	fw_ok firmware add "$tree" --name fw
	fw_ok prepare fw --name box
}

teardown() { fw_teardown; }

inside() { fw_ok start box --unconfined --attach -- /bin/sh -c "$1"; }

change() {
	inside 'echo two >/data/new; ln /data/new /data/newhard; chmod 600 /etc/passwd; rm -r /old/deep; rm -r /turned; echo x >/turned
		rm -r /home; mkdir /home; echo y >/home/y; rm "/data/[glob] *"; ln -s /nowhere /data/link; busybox mkfifo -m 640 /data/pipe
		busybox chown 12:34 /data/pipe; rm /data/disk; mkdir /data/disk; touch /data/disk/in'
	# What a shell of this machine writes through the union is the instance's as well.
	local union
	union=$FW_ROOT/workspaces/$(fw get box id)/union
	dd if=/dev/urandom of="$union/data/sparse" bs=1000 count=1 seek=3000 status=none
	truncate -s 100M "$union/data/sparse"
	setfattr -n user.mine -v 1 "$union/data/sparse"
	setcap cap_net_raw+ep "$union/data/new"
}

# picture DIR: names, types, modes, owners, links, attributes, contents; of files their times.
picture() {
	(
		cd "$1" || exit
		find . -not -path ./proc -printf '%P %y %m %U:%G %l ' \( -type d -printf '\n' -o -printf '%n %Ts\n' \) | sort
		find . -type f -exec sha256sum {} + | sort -k2
		find . -type b -o -type c | sort | xargs -d '\n' stat -c '%n %t:%T'
		getfattr -d -m - -R -h . 2>/dev/null | sort
	)
}

@test "merged: GNU tar makes the same tree of it; holes, links, devices, attributes, capabilities; no skeleton" {
	change
	fw_ok export box "$BATS_TEST_TMPDIR/box.tar"
	assert_eq '' "$output$stderr"
	tar -C "$out" --xattrs --xattrs-include='*' --numeric-owner -xpf "$BATS_TEST_TMPDIR/box.tar"
	diff <(picture "$FW_ROOT/workspaces/$(fw get box id)/union") <(picture "$out")
	[[ ! -e $out/proc ]]
	(( $(stat -c %b "$out/data/sparse") < 1000 ))
	(( $(stat -c %s "$BATS_TEST_TMPDIR/box.tar") < 30000000 ))
	assert_eq 600 "$(stat -c %a "$BATS_TEST_TMPDIR/box.tar")"
	assert_eq "$(stat -c %i "$out/data/file")" "$(stat -c %i "$out/data/hard")"
}

@test "--diff: a new name of a file of the firmware, which is as it was, is a link in the layer" {
	local layer=$BATS_TEST_TMPDIR/layer.tar
	inside 'ln /etc/firmware /etc/aname; ln /etc/group /etc/zname; ln -f /etc/passwd /data/hard; cat /bin/busybox >/dev/null'
	fw_ok export box "$layer" --diff
	tar -C "$tree" --numeric-owner -xpf "$layer"
	assert_eq "$(stat -c '%i 2' "$tree/etc/firmware")" "$(stat -c '%i %h' "$tree/etc/aname")"
	assert_eq "$(stat -c '%i 2' "$tree/etc/group")" "$(stat -c '%i %h' "$tree/etc/zname")"
	assert_eq "$(stat -c '%i 2' "$tree/etc/passwd")" "$(stat -c '%i %h' "$tree/data/hard")"
	diff <(picture "$FW_ROOT/workspaces/$(fw get box id)/union" | grep etc/) <(picture "$tree" | grep etc/)
	assert_eq './data/hard ./etc/aname ./etc/firmware ./etc/group ./etc/passwd ./etc/zname' "$(tar -tf "$layer" | grep -v '/$' | sort | xargs)"
}

@test "merged: bsdtar reads it as well" {
	change
	fw_ok export box "$BATS_TEST_TMPDIR/box.tar"
	bsdtar -C "$out" --numeric-owner -xpf "$BATS_TEST_TMPDIR/box.tar"
	diff <(picture "$FW_ROOT/workspaces/$(fw get box id)/union" | grep -v '^trusted') <(picture "$out" | grep -v '^trusted')
}

@test "--diff: on a copy of the firmware it makes the merged tree; other OCI tools find their whiteouts" {
	change
	fw_ok export box "$BATS_TEST_TMPDIR/diff.tar" --diff
	cp -a "$tree/." "$out"
	apply_layer "$BATS_TEST_TMPDIR/diff.tar" "$out"
	diff <(picture "$FW_ROOT/workspaces/$(fw get box id)/union") <(picture "$out")
	tar -tf "$BATS_TEST_TMPDIR/diff.tar" | grep -xF './old/.wh.deep'
	refute_has "$(tar -tf "$BATS_TEST_TMPDIR/diff.tar")" old/deep/
	refute_has "$(tar -tf "$BATS_TEST_TMPDIR/diff.tar")" bin/
}

# apply_layer TAR DIR: as the OCI image specification has it, with nothing but tar and rm.
apply_layer() {
	local name path
	tar -tf "$1" --quoting-style=literal | while IFS= read -r name; do
		path=$2/${name%/}
		if [[ ${path##*/} == .wh.* ]]; then
			path=${path%/*}/${path##*/.wh.}
			rm -rf -- "$path"
		elif [[ -d $path && ! -L $path && $name != */ || $name == */ && -e $path && ! -d $path ]]; then
			rm -rf -- "$path"
		fi
	done
	tar -C "$2" --xattrs --xattrs-include='*' --numeric-owner --exclude='.wh.*' -xpf "$1"
}

@test "reproducible: twice the same bytes, to a file and to stdout, before and after a restart; SOURCE_DATE_EPOCH" {
	change
	fw_ok export box "$BATS_TEST_TMPDIR/1.tar"
	fw export box - >"$BATS_TEST_TMPDIR/2.tar"
	cmp "$BATS_TEST_TMPDIR/1.tar" "$BATS_TEST_TMPDIR/2.tar"
	fw_ok prepare fw --name other
	SOURCE_DATE_EPOCH=1000000000 fw_ok export other "$BATS_TEST_TMPDIR/3.tar"
	assert_eq 2001-09-09 "$(TZ=UTC tar -tvf "$BATS_TEST_TMPDIR/3.tar" | awk '{print $4}' | sort -u)"
	SOURCE_DATE_EPOCH=soon fw_fails 2 'not a number of seconds' export other "$BATS_TEST_TMPDIR/4.tar"
}

@test "an instance that changed nothing: the diff is an empty stream" {
	fw_ok export box "$BATS_TEST_TMPDIR/diff.tar" --diff
	assert_eq '' "$(tar -tf "$BATS_TEST_TMPDIR/diff.tar")"
}

@test "failures leave nothing: a full disk, a directory, an interrupt; the old file stays" {
	mkdir "$BATS_TEST_TMPDIR/small"
	mount -t tmpfs -o size=200k fw-small "$BATS_TEST_TMPDIR/small"
	echo old >"$BATS_TEST_TMPDIR/small/box.tar"
	run --separate-stderr fw export box "$BATS_TEST_TMPDIR/small/box.tar"
	local left
	left=$(find "$BATS_TEST_TMPDIR/small" -type f -printf %P) content=$(<"$BATS_TEST_TMPDIR/small/box.tar")
	umount "$BATS_TEST_TMPDIR/small"
	assert_eq 1 "$status"
	assert_has "$stderr" 'no space left'
	assert_eq 'box.tar old' "$left $content"
	fw_fails 1 'it is a directory' export box "$out"
	fw_fails 1 'no such file' export box "$out/none/box.tar"
	dd if=/dev/urandom of="$tree/data/big" bs=1M count=200 status=none
	"$FIRMWARED" --root "$FW_ROOT" export box "$out/box.tar" 2>/dev/null 3>&- &
	local pid=$!
	wait_until 5 compgen -G "$out/.firmwared-*"
	kill -TERM "$pid"
	local code=0
	wait "$pid" || code=$?
	assert_eq 143 "$code"
	[[ ! -e $out/box.tar ]]
	[[ -z $(find "$out" -name '.firmwared-*') ]]
}

@test "hostile names and a socket: nothing is followed, what cannot be told is named" {
	change
	local union
	union=$FW_ROOT/workspaces/$(fw get box id)/union
	echo x >"$union/data/.wh.passwd"
	ln -s / "$union/data/out"
	touch "$union/data/"$'new\nline'
	python3 -c 'import socket, sys; socket.socket(socket.AF_UNIX).bind(sys.argv[1])' "$union/data/socket"
	fw_ok export box "$BATS_TEST_TMPDIR/box.tar"
	assert_has "$stderr" 'left out: /data/socket'
	tar -C "$out" -xf "$BATS_TEST_TMPDIR/box.tar"
	assert_eq x "$(<"$out/data/.wh.passwd")"
	assert_eq / "$(readlink "$out/data/out")"
	[[ -e $out/data/$'new\nline' ]]
	run --separate-stderr fw export box "$BATS_TEST_TMPDIR/diff.tar" --diff
	assert_eq 1 "$status"
	assert_has "$stderr" 'not exported: /data/.wh.passwd'
	refute_has "$(tar -tf "$BATS_TEST_TMPDIR/diff.tar")" .wh.passwd
}

@test "wrong usage" {
	fw_fails 2 usage: export box
	fw_fails 1 none export none "$out/x.tar"
}
