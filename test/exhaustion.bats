#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# A machine that has run out of something: one clear line, a true state, and a way out.
# What needs a machine of its own (the limit of mounts, the clock) is test/vm/exhaustion.bats.

load helpers

setup() { fw_setup; }

teardown() {
	rm -f "$FW_ROOT/fill"
	fw_drop_all || true
	if mountpoint -q "$FW_ROOT"; then
		"$FIRMWARED" --root "$FW_ROOT" gc --unused >/dev/null 3>&- || true
		umount "$FW_ROOT"
	fi
	fw_teardown
}

# small_root OPTIONS: the root is a tmpfs with these limits.
small_root() { mount -t tmpfs -o "$1" small "$FW_ROOT"; }

# fill: until not one byte more goes in.
fill() { ! cat /dev/zero 2>/dev/null >>"$FW_ROOT/fill"; }

# no_room ARG...: must fail and say why; the failure and that of undoing it may be two lines.
no_room() {
	run --separate-stderr fw "$@"
	assert_eq 1 "$status" "$*: $output $stderr" || return
	grep -qi 'no space left on device' <<<"$stderr" || fail "$*: does not say why: $stderr" || return
	refute_has "$stderr" 'goroutine' || return
	(( ${#stderr_lines[@]} <= 2 )) || fail "$*: ${#stderr_lines[@]} lines: $stderr"
}

@test "rw_max where the kernel cannot hold it: refused by name at the start, and nothing else changes" {
	small_root size=16m
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_fails 1 'less than 64K' prepare fw --set rw_max=2
	fw_fails 1 'no number of files' prepare fw --set rw_files_max=1
	fw_ok prepare fw --name box --set rw_max=2M
	fw_fails 1 'keeps no project quotas' start box -- /bin/true
	assert_has "$stderr" "rw_max and rw_files_max cannot hold in $FW_ROOT"
	assert_eq ready "$(fw get box state)"
	fw_ok set box rw_max=
	fw_ok start box --attach -- /bin/true
}

@test "a full disk: add, prepare, start fail clearly and leave nothing; drop and remove make room" {
	local id
	small_root size=4m
	fw_ok firmware list
	fill
	no_room firmware add "$(busybox_root)" --name fw
	assert_eq '[]' "$(fw firmware list --json)"
	rm "$FW_ROOT/fill"
	fw_ok firmware add "$(busybox_root)" --name fw
	fill
	no_room prepare fw --name box
	assert_eq '[]' "$(fw list --json)"
	assert_eq '' "$(ls "$FW_ROOT/workspaces" 2>/dev/null)"
	rm "$FW_ROOT/fill"
	fw_ok prepare fw --name box
	id=$(fw get box id)
	printf 'precious\n' >"$FW_ROOT/workspaces/$id/union/file"
	fill
	no_room start box -- /bin/sleep 1000
	assert_eq ready "$(fw get box state)"
	no_room set box note=x
	rm "$FW_ROOT/fill"
	fw_ok start box -- /bin/sleep 1000
	fill
	# What runs can be ended, and what takes room be removed, without any.
	fw_ok kill box
	assert_eq ready "$(fw get box state)"
	assert_eq precious "$(<"$FW_ROOT/workspaces/$id/rw/file")"
	fw_ok drop box
	assert_eq '[]' "$(fw list --json)"
	fw_ok firmware remove fw
	assert_eq '[]' "$(fw firmware list --json)"
	rm "$FW_ROOT/fill"
	fw_ok gc
	fw_ok gc
	assert_eq '' "$output"
}

@test "add --copy of an image that does not fit" {
	small_root size=1m
	head -c 3M /dev/urandom >"$BATS_TEST_TMPDIR/big"
	dd if="$(ext2_image)" of="$BATS_TEST_TMPDIR/big" bs=1M status=none
	no_room firmware add "$BATS_TEST_TMPDIR/big" --copy --name fw
	assert_eq '' "$(ls -A "$FW_ROOT/images")"
	assert_eq '[]' "$(fw firmware list --json)"
}

@test "a console log that fills the disk neither stops pid 1 nor what follows" {
	small_root size=2m
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fill
	rm "$FW_ROOT/fill"
	head -c 1500000 /dev/zero >"$FW_ROOT/fill"
	mkdir -m 777 "$BATS_TEST_TMPDIR/out"
	fw_ok start box --bind "$BATS_TEST_TMPDIR/out:/out" -- /bin/sh -c 'head -c 3000000 /dev/zero | tr "\0" x; echo end >/out/end; exec sleep 1000'
	wait_until 20 test -s "$BATS_TEST_TMPDIR/out/end"
	assert_eq started "$(fw get box state)"
	fw_ok logs box
	(( ${#output} > 1000 )) || fail "the log has ${#output} bytes"
	fw_ok kill box
	assert_eq ready "$(fw get box state)"
	fw_ok drop box
}

@test "no inodes: prepare fails clearly and leaves nothing, drop works" {
	local n=0
	small_root size=8m,nr_inodes=200
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	mkdir "$FW_ROOT/full"
	while : 2>/dev/null >"$FW_ROOT/full/$n"; do n=$((n + 1)); done
	no_room prepare fw --name other
	no_room start box -- /bin/sleep 1000
	assert_eq 'box ready' "$(fw list --json | jq -r '.[] | "\(.name) \(.state)"')"
	fw_ok drop box
	assert_eq '[]' "$(fw list --json)"
	rm -r "$FW_ROOT/full"
	fw_ok prepare fw --name other
	fw_ok start other -- /bin/true
}

@test "no loop device is free" {
	# The kernel makes another, but no node for it appears, as in a container.
	# shellcheck disable=SC2016 # the inner shell expands it
	run --separate-stderr unshare -m --propagation private bash -c '
		mount --bind /dev /mnt && mount -t tmpfs dev /dev || exit 99
		for node in null zero full random urandom tty ptmx loop-control; do touch /dev/$node; mount --bind /mnt/$node /dev/$node || exit 99; done
		mkdir /dev/pts /dev/shm; mount --bind /mnt/pts /dev/pts; umount /mnt
		"$1" --root "$2" firmware add "$3" --name fw >/dev/null || exit 98
		"$1" --root "$2" prepare fw --name box && exit 97
		"$1" --root "$2" list --json
		"$1" --root "$2" firmware remove fw' bash "$FIRMWARED" "$FW_ROOT" "$(ext2_image)" 3>&-
	assert_eq 0 "$status" "$stderr"
	assert_eq '[]' "$output"
	assert_has "$stderr" loop
	(( ${#stderr_lines[@]} <= 2 )) || fail "too many words: $stderr"
}

# pids_group N: a pids cgroup that this shell's children can be put in, for N tasks.
pids_group() {
	GROUP=/sys/fs/cgroup/pids/firmwared-test.$$.$BATS_TEST_NUMBER
	[[ -d /sys/fs/cgroup/pids ]] || GROUP=/sys/fs/cgroup/${GROUP##*/}
	mkdir "$GROUP" && echo "$1" >"$GROUP/pids.max"
}

@test "no more processes: whatever fails, the state is true and the next command goes on" {
	local limit failed=0
	pids_group 30
	fw_ok firmware add "$(ext2_image)" --name fw
	fw_ok prepare fw --name box
	for limit in 2 4 6 8 10 12 14 16; do
		echo "$limit" >"$GROUP/pids.max"
		run --separate-stderr bash -c 'echo $$ >"$1/cgroup.procs" && shift && "$@"' bash "$GROUP" \
			"$FIRMWARED" --root "$FW_ROOT" start box -- /bin/sleep 1000 3>&-
		if (( status != 0 )); then
			failed=$((failed + 1))
			grep -qiE 'resource temporarily unavailable|cannot fork|failed to create new OS thread|died' <<<"$stderr" || fail "limit $limit: $stderr"
			assert_eq ready "$(fw get box state)" "limit $limit"
		else
			assert_eq started "$(fw get box state)" "limit $limit"
			fw_ok kill box
			fw_ok remount box # or the next start would, within its limit: a union that was used is made anew
		fi
	done
	(( failed > 0 )) || fail 'no limit was low enough'
	echo 200 >"$GROUP/pids.max"
	fw_ok start box -- /bin/sleep 1000
	fw_ok drop --force box
	wait_until 5 rmdir "$GROUP"
}

@test "records and files from the future, as after a clock that jumped back" {
	local id record
	new_image "$BATS_TEST_TMPDIR/image"
	touch -d '2 years' "$BATS_TEST_TMPDIR/image"
	fw_ok firmware add "$BATS_TEST_TMPDIR/image" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	id=$(fw get box id)
	for record in "$FW_ROOT"/{instances,firmwares}/*.json "$FW_ROOT/run/instances/$id"/*.json; do
		sed -i 's/"20[0-9][0-9]-/"2099-/g' "$record"
		touch -d '50 years' "$record"
	done
	assert_eq started "$(fw get box state)"
	fw_ok list
	fw_ok show box
	fw_ok restart box
	fw_ok remount box
	fw_ok kill box
	fw_ok gc
	fw_ok gc
	assert_eq '' "$output"
	fw_ok drop box
	fw_ok firmware remove fw
}
