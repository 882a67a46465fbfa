#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # stderr comes from run --separate-stderr
#
# Runs inside the virtual machine, where all controllers are in cgroup2: limits, what the kernel counts, kill. The same
# on this host's cgroup1 is test/limits.bats.

load ../helpers

setup() {
	[[ ${FIRMWARED_VM-} == 1 ]] || {
		printf 'run me by test/vm/bats\n'
		return 1
	}
	fw_setup
	# The shared tree has hundreds of links, each of which costs a process: minutes, under emulation.
	mkdir -p "$BATS_TEST_TMPDIR/tree"/{bin,dev,proc,sys}
	cp /bin/busybox "$BATS_TEST_TMPDIR/tree/bin/sh"
	fw_ok firmware add "$BATS_TEST_TMPDIR/tree" --name fw
}
teardown() {
	fw_teardown
	[[ ! -e /sys/fs/cgroup/firmwared ]]
}

group() { printf '/sys/fs/cgroup/firmwared/%s/i-%s\n' "$(root_key)" "$(fw get box id)"; }
holds() { fw stats box --json | jq -e ".[0] | $1"; }
ready() { [[ $(fw get box state) == ready ]]; }

@test "cgroup2: limits stand in the instance's group before pid 1 runs, and can be changed" {
	local group
	fw_ok prepare fw --name box --set memory_max=64M --set cpu_max=0.5 --set pids_max=30
	fw_ok start box -- /bin/sh -c 'sleep 1000 & sleep 1000'
	group=$(group)
	assert_eq $((64 << 20)) "$(<"$group/memory.max")"
	assert_eq '50000 100000' "$(<"$group/cpu.max")"
	assert_eq 30 "$(<"$group/pids.max")"
	wait_until 10 holds '.pids >= 2 and .memory_source == "cgroup" and .memory > 0 and .cpu_seconds > 0 and .pids_max == 30'
	assert_eq '' "$(<"$group/cgroup.procs")" 'processes in the inner group'
	fw_ok set box memory_max=32M pids_max= cpu_max=2
	assert_eq "$((32 << 20)) max 200000 100000" "$(<"$group/memory.max") $(<"$group/pids.max") $(<"$group/cpu.max")"
	assert_eq "[\"$group\"]" "$(fw show box --json | jq -c .cgroups)"
	fw_ok kill box
	[[ ! -e $group ]]
}

@test "cgroup2: one without limits is counted too; out of memory is said" {
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'sleep 1000 & wait'
	holds '.memory_source == "cgroup" and .memory > 0 and .memory_max == null'
	fw_ok kill box
	fw_ok set box memory_max=16M
	fw_ok start box -- /bin/sh -c 'tail /dev/zero'
	wait_until 60 ready
	assert_has "$(fw get box exit_reason)" 'out of memory (limit 16M)'
}

@test "cgroup2: a supervisor that is killed leaves no group; a fork bomb under pids_max dies" {
	local group
	fw_ok prepare fw --name box --set pids_max=40
	fw_ok start box -- /bin/sh -c 'sleep 1000 & wait'
	kill -KILL "$(fw show box --json | jq .supervisor_pid)"
	wait_until 10 ready
	fw_ok start box -- /bin/sh -c '( while :; do sleep 1000 & done ) 2>/dev/null; read x'
	group=$(group)
	full() { (( $(<"$group/pids.current") >= 30 )); } # the shell ends at the first fork that fails
	wait_until 30 full
	fw_ok kill box
	[[ ! -e $group ]]
}
