#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What a kill -9 leaves, and what the next command makes of it.

load helpers

setup() { fw_setup; }
teardown() { fw_teardown; }

# slow_union: a union hook that waits, after it mounted, until a file is gone.
slow_union() {
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:$REPO/hooks
	mkdir -p "$BATS_TEST_TMPDIR/hooks"
	cat >"$BATS_TEST_TMPDIR/hooks/slow.hook" <<-END
		#!/bin/bash
		[[ \$FIRMWARED_ACTION == describe ]] && exec printf 'api=1\nlayers=union\nsummary=slow\n'
		if [[ \$FIRMWARED_ACTION == unmount ]]; then umount "\$FIRMWARED_UNION" 2>/dev/null; exit 0; fi
		mount -t overlay o -o "lowerdir=\$FIRMWARED_LOWERDIR,upperdir=\$FIRMWARED_RW,workdir=\$FIRMWARED_WORKDIR" "\$FIRMWARED_UNION"
		touch '$BATS_TEST_TMPDIR/mounted'
		while [[ -e '$BATS_TEST_TMPDIR/wait' ]]; do sleep 0.05; done
	END
	chmod 755 "$BATS_TEST_TMPDIR/hooks/slow.hook"
	touch "$BATS_TEST_TMPDIR/wait"
}

@test "a prepare that is killed while its hook runs is undone by the next command" {
	local pid
	slow_union
	fw_ok firmware add "$(ext2_image)" --name fw
	"$FIRMWARED" --root "$FW_ROOT" prepare fw --name box --union slow 3>&- &
	pid=$!
	wait_until 5 test -e "$BATS_TEST_TMPDIR/mounted"
	kill -KILL "$pid"
	wait "$pid" || true
	fw_ok prepare fw --name other
	assert_eq other "$(fw list --json | jq -r '.[].name')"
	assert_eq 1 "$(leaked_mounts | grep -c /union)"
}

@test "a run --rm that is killed is dropped by the next command" {
	local pid
	"$FIRMWARED" --root "$FW_ROOT" run "$(busybox_root)" --rm --name box -- /bin/sleep 1000 3>&- </dev/null &
	pid=$!
	wait_until 5 in_state box started
	kill -KILL "$pid"
	wait "$pid" || true
	fw_ok firmware add "$(ext2_image)" --name fw
	assert_eq '[]' "$(fw list --json)"
	assert_eq fw "$(fw firmware list --json | jq -r '.[].name')"
}

@test "Ctrl-C during a hook undoes the prepare" {
	local pid status=0
	slow_union
	fw_ok firmware add "$(ext2_image)" --name fw
	"$FIRMWARED" --root "$FW_ROOT" prepare fw --name box --union slow 3>&- &
	pid=$!
	wait_until 5 test -e "$BATS_TEST_TMPDIR/mounted"
	kill -TERM "$pid"
	wait "$pid" || status=$?
	assert_eq 143 "$status"
	assert_eq '[]' "$(fw list --json)"
	assert_eq 0 "$(leaked_mounts | grep -c /union)"
}

@test "after a reboot instances are unmounted, keep their rw layer, and start mounts them" {
	local id
	fw_ok firmware add "$(ext2_image)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'echo kept >/file'
	id=$(fw get box id)
	wait_until 5 test -s "$FW_ROOT/workspaces/$id/rw/file"
	fw_ok kill box
	# What a reboot does: the mounts are gone, and the run-time files are of another boot.
	while IFS= read -r point; do umount "$point"; done < <(leaked_mounts)
	find "$FW_ROOT" -name '*.json' -exec sed -i 's/"boot_id":"[^"]*"/"boot_id":"another"/' {} +
	assert_eq unmounted "$(fw get box state)"
	fw_ok start box -- /bin/sleep 1000
	assert_eq started "$(fw get box state)"
	assert_eq kept "$(<"$FW_ROOT/workspaces/$id/rw/file")"
}

@test "a command in another mount namespace joins the root's" {
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name first # from here on the root's mounts are in this namespace
	run --separate-stderr unshare -m --propagation private "$FIRMWARED" --root "$FW_ROOT" prepare fw --name box
	assert_eq 0 "$status"
	assert_eq ready "$(fw get box state)"
	run --separate-stderr unshare -m --propagation private "$FIRMWARED" --root "$FW_ROOT" get box state
	assert_eq ready "$output"
	fw_ok drop --all
}

@test "two commands on one instance at once are serialised" {
	local i
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	for i in 1 2 3 4 5 6; do
		"$FIRMWARED" --root "$FW_ROOT" start box -- /bin/sleep 1000 3>&- 2>"$BATS_TEST_TMPDIR/err.$i" &
	done
	wait
	assert_eq started "$(fw get box state)"
	assert_eq 5 "$(cat "$BATS_TEST_TMPDIR"/err.* | grep -c 'started already')"
	for i in 1 2 3 4; do
		"$FIRMWARED" --root "$FW_ROOT" drop --force box 3>&- 2>/dev/null &
	done
	wait
	assert_eq '[]' "$(fw list --json)"
}

@test "runs of one firmware at once, by path, with --rm" {
	local i root
	root=$(ext2_image)
	for i in 1 2 3 4 5 6 7 8; do
		"$FIRMWARED" --root "$FW_ROOT" run "$root" --rm -- /bin/cat /etc/firmware 3>&- >"$BATS_TEST_TMPDIR/out.$i" 2>&1 </dev/null &
	done
	wait
	for i in 1 2 3 4 5 6 7 8; do
		assert_eq pristine "$(<"$BATS_TEST_TMPDIR/out.$i")"
	done
	assert_eq '[]' "$(fw firmware list --json)"
}

@test "commands of all kinds on one instance at once: each does its work or says why not, none is mixed" {
	local i id
	fw_ok firmware add "$(ext2_image)" --name fw
	fw_ok prepare fw --name box
	id=$(fw get box id)
	printf 'precious\n' >"$FW_ROOT/workspaces/$id/union/file"
	for i in 1 2 3 4 5 6; do
		{
			fw start box -- /bin/sleep 1000
			fw remount box
			fw restart box
			fw set box "note=$i"
			fw kill box
		} >/dev/null 2>>"$BATS_TEST_TMPDIR/err" &
	done
	wait
	! grep -vE 'started already|was not running' "$BATS_TEST_TMPDIR/err" || fail 'see above'
	assert_eq precious "$(<"$FW_ROOT/workspaces/$id/rw/file")"
	assert_eq 1 "$(leaked_mounts | grep -c '/union$')"
	fw_ok kill box
	assert_eq ready "$(fw get box state)"
	fw_ok gc
	assert_eq '' "$output"
}

# life_cycles N PREFIX: all in one shell, quietly.
life_cycles() {
	local i
	for ((i = 1; i <= $1; i++)); do
		fw prepare fw --name "$2-$i" >/dev/null &&
			fw start "$2-$i" -- /bin/sleep 1000 &&
			fw kill "$2-$i" &&
			fw drop "$2-$i" || return
	done
}

@test "8 processes doing life cycles at once end with an empty, consistent registry" {
	local n failed=0 pids=()
	fw_ok firmware add "$(ext2_image)" --name fw
	for n in 1 2 3 4 5 6 7 8; do
		life_cycles "${CYCLES:-10}" "p$n" 2>>"$BATS_TEST_TMPDIR/err" &
		pids+=("$!")
	done
	for n in "${pids[@]}"; do
		wait "$n" || failed=$((failed + 1))
	done
	assert_eq 0 "$failed" "$(<"$BATS_TEST_TMPDIR/err")"
	assert_eq '' "$(<"$BATS_TEST_TMPDIR/err")"
	assert_eq '[]' "$(fw list --json)"
	fw_ok gc --unused
	assert_eq 1 "${#lines[@]}" "$output" # the firmware's lower, which was warm
	fw_ok firmware remove fw
	assert_eq '' "$(find "$FW_ROOT" -path '*/describe' -prune -o -name '*.json' -print)"
	assert_eq '' "$(leaks)"
}

@test "pid 1 dies with its supervisor, and all it made with it" {
	local pid supervisor
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'setsid sleep 1000 & trap "" TERM HUP INT; while :; do sleep 0.1; done'
	pid=$(fw get box pid)
	supervisor=$(jq -r .supervisor_pid "$FW_ROOT/run/instances/$(fw get box id)/status.json")
	kill -KILL "$supervisor"
	gone() { [[ ! -d /proc/$pid || $(<"/proc/$pid/stat") == *') Z '* ]]; }
	wait_until 5 gone
	assert_eq ready "$(fw get box state)"
	assert_eq 'supervisor died' "$(fw get box exit_reason)"
	fw_ok start box -- /bin/sleep 1000
}

# outlives_group GROUP: starts box from a shell in this cgroup, then kills all that is in it.
outlives_group() {
	local group=$1 pid group_up=$BATS_TEST_TMPDIR/up
	rm -f "$group_up"
	mkdir "$group"
	# shellcheck disable=SC2016 # the inner shell expands it
	setsid bash -c 'echo 0 >"$1/cgroup.procs" && "$2" --root "$3" start box -- /bin/sleep 1000 && touch "$4" && exec sleep 1000' \
		bash "$group" "$FIRMWARED" "$FW_ROOT" "$group_up" 3>&- >/dev/null 2>"$BATS_TEST_TMPDIR/err" &
	wait_until 5 test -e "$group_up" || fail "$(<"$BATS_TEST_TMPDIR/err")" || return
	while read -r pid; do kill -KILL "$pid"; done <"$group/cgroup.procs"
	wait "$!" || true
	wait_until 5 rmdir "$group"
	assert_eq started "$(fw get box state)" "after the end of $group"
	fw_ok kill box
}

@test "an instance outlives the session and the cgroup that started it" {
	local base
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	for base in /sys/fs/cgroup/unified /sys/fs/cgroup; do
		[[ $(stat -f -c %T "$base") != cgroup2fs ]] || break
	done
	outlives_group "$base/firmwared-test.$$"
	# Where cgroup1 tracks jobs and sessions, it is left too.
	if [[ $(stat -f -c %T /sys/fs/cgroup/systemd) == cgroupfs ]]; then
		outlives_group "/sys/fs/cgroup/systemd/firmwared-test.$$"
	fi
}
