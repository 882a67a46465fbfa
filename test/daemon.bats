#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Hooks that announce daemon=yes, with a FUSE file system behind the built program: its process lives exactly as long
# as its mount.

load helpers

setup() {
	fw_setup
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	mkdir "$BATS_TEST_TMPDIR/hooks"
	fuse_hook <<<''
	busybox_root >/dev/null && make_once "$FIXTURES/daemon.image" fuse_image "$FIXTURES/busybox"
}
teardown() { fw_teardown; }

fuse_image() { mksquashfs "$1" "$2" -no-progress -quiet; }

# fuse_hook [daemon=no]: installs fuse.hook; standard input is run after squashfuse has mounted.
fuse_hook() {
	local daemon=${1:-daemon=yes}
	{
		cat <<-EOF
			#!/bin/bash
			. "\$FIRMWARED_LIB/lib.bash" || exit 2
			HOOK_SUMMARY='an image by way of a process'
			HOOK_REQUIRES='tool:squashfuse dev:fuse'
			HOOK_DAEMON=${daemon#*=}
			probe() { [[ \$FIRMWARED_FIRMWARE == *.image ]]; }
			lower_mount() {
				squashfuse -o ro,suid "\$FIRMWARED_FIRMWARE" "\$FIRMWARED_RO"
		EOF
		cat
		printf '}\nfirmwared_hook\n'
	} >"$BATS_TEST_TMPDIR/hooks/fuse.hook"
	chmod 755 "$BATS_TEST_TMPDIR/hooks/fuse.hook"
}

# add: registers the image with the hook.
add() {
	fw_ok firmware add "$FIXTURES/daemon.image" --name fw
	assert_eq fuse "$(fw firmware show fw --json | jq -r .hook)"
}

# daemons: the processes of this test's calls, one a line.
daemons() {
	leaked_cgroups | grep '/hooks/scope\.' | while IFS= read -r group; do cat "$group/cgroup.procs"; done
}

no_daemon() { [[ -z $(daemons) ]]; }

# unanswered DIR: its file system has lost its daemon.
unanswered() { [[ $(LC_ALL=C stat -f "$1" 2>&1) == *'not connected'* ]]; }

# kill_daemon DIR: the daemon ends as in a crash.
kill_daemon() {
	local pid
	pid=$(daemons)
	[[ $pid =~ ^[0-9]+$ ]] || fail "not one daemon: $pid"
	kill -KILL "$pid"
	wait_until 5 unanswered "$1"
}

@test "two instances share one daemon; it outlives them, and ends with the mount" {
	local pid
	add
	fw_ok prepare fw --name a
	pid=$(daemons)
	[[ $pid =~ ^[0-9]+$ ]] || fail "not one daemon: $pid"
	fw_ok prepare fw --name b
	fw_ok start a --unconfined -- /bin/sh -c 'echo changed >/etc/firmware; exec sleep 1000'
	fw_ok run fw --rm --unconfined -- /bin/cat /etc/firmware
	assert_eq pristine "$output"
	wait_until 5 grep -q changed "$(fw get a workspace)/rw/etc/firmware"
	fw_ok drop --force a
	fw_ok start b --unconfined -- /bin/sleep 1000
	assert_eq "$pid" "$(daemons)"
	fw_ok drop --force b
	assert_eq "$pid" "$(daemons)" 'the lower stays warm'
	fw_ok firmware unmount fw
	assert_eq '' "$(daemons)"
	assert_eq '' "$(leaked_cgroups | grep /hooks/)"
	assert_eq unmounted "$(fw firmware show fw --json | jq -r .state)"
	fw_ok prepare fw
	fw_ok drop "$output"
	fw_ok firmware remove fw
	assert_eq '' "$(daemons)"
}

@test "an unmount that is busy names the holder and leaves the daemon to it" {
	local pid held
	add
	fw_ok prepare fw --name box
	pid=$(daemons)
	exec {held}<"$(fw get box workspace)/ro/etc/firmware"
	fw_ok drop box
	fw_fails 1 "held by" firmware unmount fw
	assert_eq "$pid" "$(daemons)"
	assert_eq pristine "$(cat <&"$held")"
	exec {held}<&-
	fw_ok firmware unmount fw
	assert_eq '' "$(daemons)"
}

@test "a daemon that dies: the next start mounts anew, a running instance is told what to do" {
	local ro
	add
	fw_ok prepare fw --name ready
	fw_ok prepare fw --name running
	# busybox is in memory by now: what runs goes on without its file system.
	fw_ok start running --unconfined -- /bin/sleep 1000
	wait_until 5 grep -qE '^(35|230) ' "/proc/$(fw get running pid)/syscall" # nanosleep: it needs no more pages
	ro=$(fw get ready workspace)/ro
	kill_daemon "$ro/"
	fw_fails 1 'restart the instance' remount running
	fw_ok start ready --unconfined -- /bin/sleep 1000
	assert_eq pristine "$(<"$ro/etc/firmware")"
	fw_ok restart running
	assert_eq started "$(fw get running state)"
	assert_eq pristine "$(<"$(fw get running workspace)/union/etc/firmware")"
	assert_eq 1 "$(daemons | wc -l)"
}

@test "a daemon that dies: drop, unmount and remove work all the same" {
	local ro held
	add
	fw_ok prepare fw --name box
	ro=$(readlink "$(fw get box workspace)/ro")
	exec {held}<"$ro/etc/firmware"
	kill_daemon "$ro"
	fw_ok drop box
	fw_fails 1 'held by' firmware unmount fw
	exec {held}<&-
	fw_ok firmware remove fw
	assert_eq '' "$(leaked_mounts | grep /lowers/)"
}

@test "a daemon that is dead before its hook is done is a failed mount, and nothing stays" {
	fuse_hook <<-'EOF'
		kill -KILL "$(sed -n 1p <(pgrep -xf "squashfuse -o ro,suid $FIRMWARED_FIRMWARE $FIRMWARED_RO"))"
		for ((i = 0; i < 500; i++)); do stat -f "$FIRMWARED_RO" >/dev/null 2>&1 || break; sleep 0.01; done
	EOF
	add
	fw_fails 1 'reported success, but' prepare fw --name box
	assert_has "$stderr" 'not connected'
	assert_eq '' "$(leaked_mounts | grep /lowers/)"
	assert_eq '[]' "$(fw list --json)"
}

@test "a FUSE hook that forgot daemon=yes is told so" {
	fuse_hook daemon=no <<<''
	add
	fw_fails 1 'daemon=yes' prepare fw --name box
	assert_eq '' "$(leaked_mounts | grep /lowers/)"
	assert_eq '[]' "$(fw list --json)"
}

# waiting_hook: waits with a mounted file system until a file is gone.
waiting_hook() {
	export FIRMWARED_USERNS=off # else the add would mount it, too, to see whether it can be idmapped
	touch "$BATS_TEST_TMPDIR/wait"
	fuse_hook <<-EOF
		touch '$BATS_TEST_TMPDIR/mounted'
		while [[ -e '$BATS_TEST_TMPDIR/wait' ]]; do sleep 0.05; done
	EOF
}

@test "the caller is killed in mid-mount: the next command ends its daemon and its hook" {
	local pid
	waiting_hook
	add
	"$FIRMWARED" --root "$FW_ROOT" prepare fw --name box 3>&- &
	pid=$!
	wait_until 5 test -e "$BATS_TEST_TMPDIR/mounted"
	kill -KILL "$pid"
	wait "$pid" || true
	[[ -n $(daemons) ]] || fail 'the daemon ended with its caller: this test shows nothing'
	fw_ok firmware add "$(ext2_image)" --name other
	wait_until 5 no_daemon
	assert_eq '' "$(leaked_mounts | grep /lowers/)"
	assert_eq '[]' "$(fw list --json)"
}

@test "Ctrl-C in mid-mount ends the daemon with the hook" {
	local pid status=0
	waiting_hook
	add
	"$FIRMWARED" --root "$FW_ROOT" prepare fw --name box 3>&- 2>/dev/null &
	pid=$!
	wait_until 5 test -e "$BATS_TEST_TMPDIR/mounted"
	kill -TERM "$pid"
	wait "$pid" || status=$?
	assert_eq 143 "$status"
	assert_eq '' "$(daemons)"
	assert_eq '' "$(leaked_mounts | grep /lowers/)"
}

@test "the caller's end is not the daemon's: a killed supervisor leaves the lower to the others" {
	local pid
	add
	fw_ok prepare fw --name box
	"$FIRMWARED" --root "$FW_ROOT" run fw --rm --name other --unconfined -- /bin/sleep 1000 3>&- </dev/null &
	pid=$!
	wait_until 5 fw get other pid
	kill -KILL "$pid"
	wait "$pid" || true
	fw_ok start box --unconfined -- /bin/sleep 1000
	assert_eq 1 "$(daemons | wc -l)"
	assert_eq pristine "$(<"$(fw get box workspace)/ro/etc/firmware")"
}

@test "a daemon that keeps the hook's stdout and stderr holds up nobody, and is ended all the same" {
	local began=$EPOCHREALTIME
	fuse_hook <<-'EOF'
		setsid sleep 1000 &
	EOF
	add
	fw_ok prepare fw --name box
	(( ${EPOCHREALTIME/[.,]/} - ${began/[.,]/} < 10000000 )) || fail "took from $began to $EPOCHREALTIME"
	assert_eq 2 "$(daemons | wc -l)"
	fw_ok drop box
	fw_ok firmware remove fw
	assert_eq '' "$(daemons)"
}
