#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `cp`: into and out of instances.

load helpers

setup() {
	fw_setup
	W=$BATS_TEST_TMPDIR
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	mkdir -p "$W/src/sub/empty"
	echo one >"$W/src/file"
	ln "$W/src/file" "$W/src/hard"
	ln -s /etc/passwd "$W/src/link"
	mkfifo "$W/src/fifo"
	printf odd >"$W/src/sub/"$'new\nline \\ * é'
	chown 1000:1001 "$W/src/file" "$W/src/sub"
	chmod 4751 "$W/src/file"
	chmod 1770 "$W/src/sub"
	touch -d '2001-02-03 04:05:06.789' "$W/src/file" "$W/src/sub"
	setfattr -n trusted.mine -v $'a b' "$W/src/file"
}
teardown() { fw_teardown; }

started() { fw_ok start box -- /bin/sh -c 'while :; do sleep 1000; done'; }

rw() { printf '%s/rw' "$(fw get box workspace)"; }

@test "a tree survives the way in and out again: ready and started" {
	local state
	for state in ready started; do
		[[ $state == ready ]] || started
		fw_ok cp "$W/src" "box:/$state"
		fw_ok cp "box:/$state" "$W/$state"
		assert_eq "$(tree_sum "$W/src")" "$(tree_sum "$W/$state")"
		assert_eq 2 "$(stat -c %h "$W/$state/hard")"
		assert_eq "$(stat -c '%i' "$W/$state/hard")" "$(stat -c '%i' "$W/$state/file")"
		assert_eq 'a b' "$(getfattr --only-values -n trusted.mine "$W/$state/file")"
		[[ -p $W/$state/fifo && -L $W/$state/link ]]
		assert_eq '4751 1000:1001 2001-02-03 04:05:06.789000000' "$(stat -c '%a %u:%g %y' "$W/$state/file" | cut -d+ -f1 | sed 's/ $//')"
	done
}

@test "holes stay holes, in and out" {
	truncate -s 200M "$W/holes"
	printf data | dd of="$W/holes" bs=1M seek=100 conv=notrunc status=none
	fw_ok cp "$W/holes" box:/holes
	(( $(stat -c %b "$(rw)/holes") < 1000 )) || fail "$(stat "$(rw)/holes")"
	fw_ok cp box:/holes "$W/back"
	cmp "$W/holes" "$W/back"
	(( $(stat -c %b "$W/back") < 1000 )) || fail "$(stat "$W/back")"
}

@test "an unmounted instance is mounted for it" {
	umount "$(fw get box workspace)/union"
	assert_eq unmounted "$(fw get box state)"
	fw_ok cp "$W/src/file" box:/f
	assert_eq ready "$(fw get box state)"
	assert_eq one "$(<"$(rw)/f")"
}

@test "where it goes: cp's rules" {
	fw_ok cp "$W/src/file" box:/home
	fw_ok cp "$W/src/file" box:/home/
	fw_ok cp "$W/src/file" box:/home/other
	fw_ok cp "$W/src" box:/home
	fw_ok cp "$W/src/." box:/home/src2 || fail 'content to a new directory'
	fw_ok cp "$W/src/." box:/tmp
	assert_eq one "$(<"$(rw)/home/file")"
	assert_eq one "$(<"$(rw)/home/other")"
	assert_eq one "$(<"$(rw)/home/src/file")"
	assert_eq one "$(<"$(rw)/home/src2/file")"
	assert_eq one "$(<"$(rw)/tmp/file")"
	(cd "$W" && fw_ok cp box:/home/file copied && fw_ok cp box:/etc/passwd . && fw_ok cp ./copied box:/home/again)
	[[ -f $W/copied && -f $W/passwd ]]
	fw_fails 1 'not a directory' cp "$W/src/file" box:/new/
	fw_fails 1 'no such file' cp "$W/src/file" box:/nosuch/file
	fw_fails 1 'no such file' cp box:/nosuch "$W"
	fw_fails 1 'not a directory' cp "$W/src" box:/home/file/x
	mkdir "$W/dir" "$W/dir/file"
	fw_fails 1 'a directory is in' cp box:/home/file "$W/dir"
	fw_fails 1 "in the directory's place" cp "$W/dir" box:/home/file || true
	run_err 2 'one of the two' fw cp a b
	run_err 2 'one of the two' fw cp box:/a box:/b
	run_err 2 'empty' fw cp box: b
	fw_fails 1 'nosuch' cp nosuch:/a "$W"
}

@test "tar streams both ways" {
	tar -C "$W/src" -c file sub | fw cp - box:/home
	assert_eq one "$(<"$(rw)/home/file")"
	fw cp box:/home - | tar -C "$W" -x
	assert_eq "$(stat -c %a "$W/src/file")" "$(stat -c %a "$W/home/file")"
	[[ -d $W/home/sub/empty ]]
	fw_fails 1 'needs one' cp - box:/etc/passwd </dev/null
	run_err 1 'tar stream' fw cp - box:/home <<<rubbish
	# A stream that would lead out.
	tar -C "$W/src" -cP --transform 's,^,../../,' file >"$W/evil.tar"
	run_err 1 'leads out' fw cp - box:/home <"$W/evil.tar"
}

@test "what is mounted inside a running instance is reached" {
	started
	fw_ok exec box -- mount -t tmpfs tmpfs /tmp
	fw_ok exec box -- /bin/sh -c 'echo hidden >/tmp/in'
	fw_ok cp box:/tmp/in "$W/in"
	assert_eq hidden "$(<"$W/in")"
	fw_ok cp "$W/src/file" box:/tmp/back
	fw_ok exec box -- cat /tmp/back
	assert_eq one "$output"
}

@test "links of the instance lead nowhere but into it" {
	echo secret >"$W/secret"
	started
	fw_ok exec box -- /bin/sh -c "ln -s '$W' /out; ln -s ../../../../../../..$W /up; ln -s /proc/self/root /magic; mv /etc /etc2; ln -s / /etc; ln -s '$W/secret' /home/secret"
	fw_fails 1 'no such file' cp box:/out/secret "$W/got"
	fw_fails 1 'no such file' cp box:/up/secret "$W/got"
	run --separate-stderr fw cp "box:/magic$W/secret" "$W/got"
	assert_eq 1 "$status"
	fw_fails 1 'no such file' cp "box:/../../..$W/secret" "$W/got"
	fw_fails 1 'no such file' cp "$W/src/file" box:/out/planted
	# A link that is asked for is copied as a link; one in the way is replaced.
	fw_ok cp box:/home/secret "$W/aslink"
	assert_eq "$W/secret" "$(readlink "$W/aslink")"
	fw_ok cp "$W/src/file" box:/home/secret
	assert_eq secret "$(<"$W/secret")"
	# Absolute links lead into the instance's own root.
	fw_ok cp "$W/src/file" box:/etc/through
	fw_ok exec box -- cat /through
	assert_eq one "$output"
	# Nor is a link on this side followed by what comes out.
	mkdir "$W/into"
	ln -s "$W/secret" "$W/into/secret"
	fw_ok cp box:/home/secret "$W/into"
	assert_eq secret "$(<"$W/secret")"
	[[ ! -L $W/into/secret ]]
}

@test "devices are named and left out, fifos are not waited for" {
	started
	fw_ok exec box -- /bin/sh -c 'mkdir /d; mkfifo /d/fifo; echo x >/d/x; printf x >"/d/$(printf "\033[2J")"'
	mknod "$(fw get box workspace)/union/d/null" c 1 3 # in a user namespace it could not
	run --separate-stderr timeout 20 "$FIRMWARED" --root "$FW_ROOT" cp box:/d "$W/d"
	assert_eq 1 "$status"
	# shellcheck disable=SC2154 # set by run
	assert_has "$stderr" 'd/null: devices'
	[[ -p $W/d/fifo && -f $W/d/x && ! -e $W/d/null ]]
}

@test "a tree that is renamed all the time gives nothing of this machine" {
	mkdir -p "$W/secret/dir"
	echo secret >"$W/secret/dir/file"
	fw_ok start box -- /bin/sh -c "mkdir -p /a/dir; echo mine >/a/dir/file; ln -s '$W/secret' /b
		while :; do mv /a /c; mv /b /a; mv /a /b; mv /c /a; done"
	for _ in {1..30}; do
		rm -rf "$W/got"
		fw cp box:/a "$W/got" 2>/dev/null || true
		[[ ! -e $W/got/dir/file || -L $W/got ]] || assert_eq mine "$(<"$W/got/dir/file")"
	done
}

@test "a full disk: an error, and no part of the file" {
	mkdir "$W/small"
	mount -t tmpfs -o size=64k tmpfs "$W/small"
	started
	fw_ok exec box -- dd if=/dev/zero of=/big bs=1024 count=200
	run --separate-stderr fw cp box:/big "$W/small"
	local have=$status text=$stderr files
	files=$(ls -A "$W/small")
	umount "$W/small"
	assert_eq 1 "$have"
	assert_has "$text" 'no space left'
	assert_eq '' "$files"
}
