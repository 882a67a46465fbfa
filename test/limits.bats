#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # stderr comes from run --separate-stderr
# Limits on memory, CPU time and processes; how an instance is ended.

load helpers

setup() {
	fw_setup
	ROOTFS=$(busybox_root)
}
teardown() { fw_teardown; }

# box ARG...: an instance, not started.
box() {
	[[ -n $(fw firmware list --json | jq -r '.[].id') ]] || fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box "$@"
}

# control CONTROLLER FILE...: the control file of the instance's own group, whichever version this machine has.
control() {
	local path name group
	group=firmwared/$(root_key)/i-$(fw get box id)
	for path in /sys/fs/cgroup /sys/fs/cgroup/unified "/sys/fs/cgroup/$1"; do
		for name in "${@:2}"; do
			[[ ! -e $path/$group/$name ]] || { printf '%s\n' "$path/$group/$name"; return; }
		done
	done
	fail "no ${*@Q} of $group"
}

running() { [[ $(fw get box state) == started ]]; }
ready() { [[ $(fw get box state) == ready ]]; }
logged() { fw logs box | grep -q -- "$1"; }

@test "an instance that uses more memory than it may is ended, and that is said" {
	box --set memory_max=16M
	fw_ok start box -- /bin/sh -c 'exec busybox tail /dev/zero'
	wait_until 20 ready
	assert_eq 'out of memory (limit 16M)' "$(fw get box exit_reason)"
	assert_eq 137 "$(fw get box exit_code)"
	assert_eq 1 "$(fw list --json | jq '.[0].oom_killed')"
	fw_ok show box
	assert_has "$output" 'out of memory (limit 16M)'
}

@test "out of memory in another process than pid 1 does not end it, and is said too" {
	box --set memory_max=16M
	fw_ok start box -- /bin/sh -c 'tail /dev/zero; echo "status $?"; exit 3'
	wait_until 20 ready
	assert_has "$(fw logs box)" 'status 137'
	assert_eq 'exited with status 3; 1 killed before: out of memory (limit 16M)' "$(fw get box exit_reason)"
	assert_eq 3 "$(fw get box exit_code)"
}

@test "pid 1 is under its limits before its program runs, and all it makes after it" {
	box --set memory_max=64M --set cpu_max=0.5 --set pids_max=30
	fw_ok start box -- /bin/sh -c 'sleep 1000 & exec sleep 1000'
	assert_eq $((64 << 20)) "$(<"$(control memory memory.max memory.limit_in_bytes)")"
	assert_has "$(<"$(control cpu cpu.max cpu.cfs_quota_us)")" 50000
	assert_eq 30 "$(<"$(control pids pids.max)")"
	two() { [[ $(<"$(control pids pids.current)") == 2 ]]; }
	wait_until 5 two
	assert_eq 64M,0.5,30 "$(fw show box --json | jq -r '.properties | [.memory_max[0], .cpu_max[0], .pids_max[0]] | join(",")')"
}

@test "limits of a running instance: at once; a first limit reaches the processes that are there" {
	box
	fw_ok start box -- /bin/sh -c 'sleep 1000 & sleep 1000 & exec sleep 1000'
	fw_ok set box pids_max=7 memory_max=32M cpu_max=20000/40000
	assert_eq 7 "$(<"$(control pids pids.max)")"
	assert_eq 3 "$(<"$(control pids pids.current)")"
	assert_eq $((32 << 20)) "$(<"$(control memory memory.max memory.limit_in_bytes)")"
	fw_ok set box pids_max=9 memory_max=48M
	assert_eq 9 "$(<"$(control pids pids.max)")"
	assert_eq $((48 << 20)) "$(<"$(control memory memory.max memory.limit_in_bytes)")"
	fw_ok set box pids_max=
	assert_eq max "$(<"$(control pids pids.max)")"
	fw_ok kill box
	assert_eq '' "$(find /sys/fs/cgroup -name "i-$(fw get box id)" 2>/dev/null)"
}

@test "a limit that makes no sense is refused where it is set" {
	box
	fw_fails 1 'memory_max' set box memory_max=lots
	fw_fails 1 'cpu_max' set box cpu_max=0
	fw_fails 1 'pids_max' set box pids_max=-3
	fw_fails 1 'stop_signal' set box stop_signal=NOSUCH
	fw_fails 1 'log_max' set box log_max=1
	fw_fails 125 'memory_max' run "$ROOTFS" --rm --set memory_max=lots -- /bin/true
}

@test "a supervisor that is killed leaves no group of any controller" {
	box --set memory_max=64M --set pids_max=30
	fw_ok start box
	kill -KILL "$(jq .supervisor_pid "$FW_ROOT/run/instances/$(fw get box id)/status.json")"
	wait_until 5 ready
	assert_eq 'supervisor died' "$(fw get box exit_reason)"
	fw_ok start box
	assert_eq 30 "$(<"$(control pids pids.max)")"
	fw_ok drop --force box
	assert_eq '' "$(leaked_cgroups | grep /i-)"
}

@test "a fork bomb under pids_max does no harm and dies" {
	box --set pids_max=40
	# shellcheck disable=SC2016
	fw_ok start box -- /bin/sh -c 'echo begun; bomb() { while :; do sleep 1000 & done 2>/dev/null; }; while :; do bomb & wait $!; done 2>/dev/null'
	wait_until 5 logged begun
	full() { (( $(<"$(control pids pids.current)") >= 39 )); }
	wait_until 10 full
	fw_ok kill box
	assert_eq ready "$(fw get box state)"
}

@test "a bomb without a limit dies too: processes that are gone when one looks, in sessions of their own, deaf to signals" {
	box
	# Each makes its successor and ends; at any moment there are few, so that it is no load.
	fw_ok start box -- /bin/sh -c 'trap "" TERM HUP INT; hop() { sleep 0.02; hop & }
		for i in 1 2 3 4 5 6 7 8; do hop & setsid sh -c "hop() { sleep 0.02; hop & }; hop" & done; echo begun; while :; do wait; sleep 0.02; done'
	wait_until 5 logged begun
	fw_ok kill box
	assert_eq ready "$(fw get box state)"
	assert_eq '' "$(leaked_cgroups | grep /i-)"
}

@test "killing right after the start works" {
	local i
	box
	for i in 1 2 3 4 5; do
		fw_ok start box
		fw_ok kill box
		assert_eq ready "$(fw get box state)"
	done
	fw start box 3>&- &
	fw_ok kill box # before, during or after the start
	wait $!
	fw_ok kill box
	assert_eq ready "$(fw get box state)"
}

# ups N: pid 1 has said "up" N times, over all runs.
ups() { (( $(fw logs box | grep -c up) == $1 )); }

@test "stop_signal lets pid 1 end by itself, in kill, restart and drop; a signal asked for goes first" {
	local program='trap "echo usr1 | tee -a /mnt/ends; exit 4" USR1; trap "echo term; exit 5" TERM; echo up; while :; do sleep 0.05; done'
	mkdir "$BATS_TEST_TMPDIR/shared"
	box --set stop_signal=USR1
	fw_ok start box --bind "$BATS_TEST_TMPDIR/shared:/mnt" -- /bin/sh -c "$program"
	wait_until 5 ups 1
	fw_ok kill box
	assert_eq 4 "$(fw get box exit_code)"
	fw_ok start box --bind "$BATS_TEST_TMPDIR/shared:/mnt" -- /bin/sh -c "$program"
	wait_until 5 ups 2
	fw_ok restart box
	wait_until 5 ups 3
	assert_eq $'usr1\nusr1' "$(<"$BATS_TEST_TMPDIR/shared/ends")"
	fw_ok kill box --signal TERM
	assert_eq 5 "$(fw get box exit_code)"
	fw_ok restart box
	wait_until 5 ups 4
	fw_ok kill box --signal KILL
	assert_eq 'killed by SIGKILL' "$(fw get box exit_reason)"
	fw_ok restart box
	wait_until 5 ups 5
	fw_ok drop box --force
	assert_eq 3 "$(wc -l <"$BATS_TEST_TMPDIR/shared/ends")"
}

@test "one that ignores its stop_signal is killed when its time is over" {
	local begin=$SECONDS
	box --set stop_signal=TERM
	fw_ok start box -- /bin/sh -c 'trap "" TERM; echo up; while :; do sleep 0.05; done'
	wait_until 5 logged up
	fw_ok kill box --timeout 1s
	(( SECONDS - begin < 8 ))
	assert_eq 'killed by SIGKILL' "$(fw get box exit_reason)"
}
