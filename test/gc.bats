#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# gc: what it finds, what it leaves alone, and that it says so.

load helpers

setup() { fw_setup; }
teardown() { fw_teardown; }

# gc_twice PATTERN...: a dry run names these things and changes nothing, a real
# one names and removes them, and another has nothing to say.
gc_twice() {
	local pattern before dry
	before=$(state_of_root)
	fw_ok gc --dry-run
	dry=$output
	assert_eq "$before" "$(state_of_root)" 'a dry run changed something'
	for pattern in "$@"; do
		grep -q -- "^would remove $pattern" <<<"$dry" || fail "gc --dry-run lacks $pattern: $dry" || return
	done
	fw_ok gc
	for pattern in "$@"; do
		grep -q -- "^removed $pattern" <<<"$output" || fail "gc lacks $pattern: $output" || return
	done
	assert_eq '' "$stderr"
	gc_silent
}

gc_silent() {
	fw_ok gc
	assert_eq '' "$output$stderr" 'a second gc'
}

# state_of_root: all names, sizes and mounts.
state_of_root() {
	find "$FW_ROOT" -xdev -printf '%P %s %y\n' | sort
	leaked_mounts
	leaked_cgroups
}

@test "a root that is fine, or not there, has nothing to remove" {
	gc_silent
	[[ -z $(ls -A "$FW_ROOT") ]] || fail "gc made something: $(ls -A "$FW_ROOT")"
	fw_ok firmware add "$(ext2_image)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	gc_silent
	assert_eq started "$(fw get box state)"
	fw_ok gc --json
	assert_eq '[]' "$output"
	fw_fails 2 usage gc box
}

@test "workspaces and run directories without a record go, also mounted ones; kept layers stay" {
	local id
	fw_ok firmware add "$(ext2_image)" --name fw
	fw_ok prepare fw --name kept
	fw_ok start kept -- /bin/sh -c 'echo x >/file'
	wait_until 5 in_state kept ready
	fw_ok drop --force --keep kept
	local layer=$output
	fw_ok prepare fw --name box
	id=$(fw get box id)
	rm "$FW_ROOT/instances/$id.json"
	mkdir "$FW_ROOT/run/instances/aaaaaaaaaaaa" "$FW_ROOT/workspaces/bbbbbbbbbbbb" "$FW_ROOT/workspaces/mine"
	gc_twice "workspace $id " 'workspace aaaaaaaaaaaa ' 'workspace bbbbbbbbbbbb '
	[[ ! -e $FW_ROOT/workspaces/$id && -d $FW_ROOT/workspaces/mine ]]
	assert_eq x "$(<"$layer/file")"
	rmdir "$FW_ROOT/workspaces/mine"
}

@test "an instance that runs without a record is named and left" {
	local id
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	id=$(fw get box id)
	mv "$FW_ROOT/instances/$id.json" "$BATS_TEST_TMPDIR"
	run --separate-stderr fw gc
	assert_eq 1 "$status"
	assert_has "$stderr" "the record of instance $id is gone, but it runs"
	mv "$BATS_TEST_TMPDIR/$id.json" "$FW_ROOT/instances"
	assert_eq started "$(fw get box state)"
}

@test "a broken record is hands off" {
	local id
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	id=$(fw get box id)
	cp "$FW_ROOT/instances/$id.json" "$BATS_TEST_TMPDIR"
	echo '{' >"$FW_ROOT/instances/$id.json"
	gc_silent
	cp "$BATS_TEST_TMPDIR/$id.json" "$FW_ROOT/instances"
	assert_eq ready "$(fw get box state)"
}

@test "lowers: an old generation goes once nobody stands on it, the newest with --unused only" {
	local users
	new_root "$BATS_TEST_TMPDIR/final"
	fw_ok firmware add "$BATS_TEST_TMPDIR/final" --name fw
	fw_ok prepare fw --name box
	mv "$BATS_TEST_TMPDIR/final" "$BATS_TEST_TMPDIR/old"
	new_root "$BATS_TEST_TMPDIR/final"
	gc_silent # box stands on it
	fw_ok prepare fw --name other
	assert_eq 2 "$(leaked_mounts | grep -c /lowers/)"
	# A user that is none any more: its instance died between two steps.
	for users in "$FW_ROOT"/run/lowers/*/users; do touch "$users/aaaaaaaaaaaa"; done
	fw_ok drop --all
	gc_twice 'lower .*old generation'
	assert_eq 1 "$(leaked_mounts | grep -c /lowers/)"
	fw_ok gc --dry-run --unused --json
	assert_eq 'lower false' "$(jq -r '.[] | "\(.kind) \(.removed)"' <<<"$output")"
	fw_ok gc --unused --json
	assert_eq 'lower true' "$(jq -r '.[] | "\(.kind) \(.removed)"' <<<"$output")"
	assert_eq 0 "$(leaked_mounts | grep -c /lowers/)"
	fw_ok gc --unused
	assert_eq '' "$output"
}

@test "what writers left that died: temporary files, image copies, marks, locks" {
	local id fw_id
	fw_ok firmware add "$(ext2_image)" --name fw
	fw_ok prepare fw --name box
	id=$(fw get box id) fw_id=$(fw firmware show fw --json | jq -r .id)
	mkdir -p "$FW_ROOT/images"
	touch "$FW_ROOT/instances/.$id.json.tmp1" "$FW_ROOT/firmwares/.$fw_id.json.tmp22" "$FW_ROOT/run/instances/$id/.union.json.tmp3" \
		"$(echo "$FW_ROOT/run/lowers/$fw_id".*)/.lower.json.tmp4" "$FW_ROOT/images/.copy-aaaaaaaaaaaa" "$FW_ROOT/images/$fw_id" \
		"$FW_ROOT/run/locks/i-bbbbbbbbbbbb" "$FW_ROOT/run/pending/instance.$id.cccccccccccc" "$FW_ROOT/images/mine"
	touch -d '2 hours' "$FW_ROOT/.mounts.json.tmp5" # by a clock that was ahead
	gc_twice "file .*/.$id.json.tmp1" "file .*/.$fw_id.json.tmp22" 'file .*/.union.json.tmp3' 'file .*/.lower.json.tmp4' \
		'file .*/.mounts.json.tmp5' 'image .*/.copy-a*:' "image .*/$fw_id:" 'lock i-bbbbbbbbbbbb' "mark instance.$id"
	[[ -e $FW_ROOT/images/mine ]]
	assert_eq ready "$(fw get box state)"
	rm "$FW_ROOT/images/mine"
}

@test "what a killed supervisor left, and a cgroup of an instance that does not run" {
	local id pid group
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	id=$(fw get box id)
	pid=$(jq -r .supervisor_pid "$FW_ROOT/run/instances/$id/status.json")
	kill -KILL "$pid"
	wait_until 5 in_state box ready
	gc_twice 'processes box'
	for group in $(leaked_cgroups | grep /firmwared/ | head -n1); do
		mkdir "${group%/*}/i-aaaaaaaaaaaa" "${group%/*}/other"
		gc_twice 'cgroup .*/i-aaaaaaaaaaaa'
		rmdir "${group%/*}/other" # not ours: it was left alone
	done
	assert_eq ready "$(fw get box state)"
}

@test "a run --rm that was killed, with its firmware" {
	local pid
	"$FIRMWARED" --root "$FW_ROOT" run "$(busybox_root)" --rm --name box -- /bin/sleep 1000 3>&- </dev/null &
	pid=$!
	wait_until 5 in_state box started
	gc_silent # it is a living command's
	assert_eq started "$(fw get box state)"
	kill -KILL "$pid"
	wait "$pid" || true
	gc_twice 'instance box'
	assert_eq '[]' "$(fw firmware list --json)"
	assert_eq '' "$(leaked_mounts)"
}

@test "a busy mount is named with its holder and does not stop the rest" {
	local id holder
	fw_ok firmware add "$(ext2_image)" --name fw
	fw_ok prepare fw --name box
	id=$(fw get box id)
	(cd "$FW_ROOT/workspaces/$id/union" && exec sleep 1000 3>&-) &
	holder=$!
	# shellcheck disable=SC2016 # asked again and again
	wait_until 5 bash -c '[[ $(readlink "/proc/$0/cwd") == "$1" ]]' "$holder" "$FW_ROOT/workspaces/$id/union"
	rm "$FW_ROOT/instances/$id.json"
	mkdir "$FW_ROOT/workspaces/ffffffffffff"
	run --separate-stderr fw gc
	assert_eq 1 "$status"
	assert_has "$stderr" "sleep (pid $holder)"
	assert_has "$output" 'removed workspace ffffffffffff'
	kill "$holder"
	wait "$holder" || true
	gc_twice "workspace $id"
}

@test "a hook whose caller died, and the half mounted union it made" {
	local pid
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:$REPO/hooks
	mkdir "$BATS_TEST_TMPDIR/hooks"
	cat >"$BATS_TEST_TMPDIR/hooks/slow.hook" <<-END
		#!/bin/bash
		[[ \$FIRMWARED_ACTION == describe ]] && exec printf 'api=1\nlayers=union\nsummary=slow\n'
		if [[ \$FIRMWARED_ACTION == unmount ]]; then umount "\$FIRMWARED_UNION" 2>/dev/null; exit 0; fi
		mount -t overlay o -o "lowerdir=\$FIRMWARED_LOWERDIR,upperdir=\$FIRMWARED_RW,workdir=\$FIRMWARED_WORKDIR" "\$FIRMWARED_UNION"
		touch '$BATS_TEST_TMPDIR/mounted'
		sleep 1000
	END
	chmod 755 "$BATS_TEST_TMPDIR/hooks/slow.hook"
	fw_ok firmware add "$(ext2_image)" --name fw
	"$FIRMWARED" --root "$FW_ROOT" prepare fw --name box --union slow 3>&- &
	pid=$!
	wait_until 5 test -e "$BATS_TEST_TMPDIR/mounted"
	gc_silent # the command lives
	kill -KILL "$pid"
	wait "$pid" || true
	gc_twice 'instance box .*: it was half made'
	assert_eq '[]' "$(fw list --json)"
	assert_eq 0 "$(leaked_mounts | grep -c /union)"
}
