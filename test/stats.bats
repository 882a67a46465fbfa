#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # stderr comes from run --separate-stderr
# stats, and what show tells of an instance.

load helpers

setup() {
	fw_setup
	ROOTFS=$(busybox_root)
	fw_ok firmware add "$ROOTFS" --name fw
}
teardown() { fw_teardown; }

# stat NAME [INSTANCE]: one value of stats --json.
stat_of() { fw stats "${2:-box}" --json | jq -r ".[0].$1"; }

# holds EXPRESSION: of stats --json.
holds() { fw stats box --json | jq -e ".[0] | $1"; }

@test "an instance that does not run has a layer, and nothing else" {
	fw_ok prepare fw --name box
	fw_ok stats
	assert_has "${lines[0]}" MEMORY
	assert_has "${lines[1]}" 'box   ready  -'
	holds '.state == "ready" and .memory == null and .pids == null and .uptime == null and .cpu_percent == null'
	assert_eq "$(du -s --block-size=1 "$(fw get box workspace)/rw" | cut -f 1)" "$(stat_of rw_bytes)"
	assert_eq 1 "$(stat_of rw_inodes)"
}

@test "memory, CPU time, processes and uptime of one without limits" {
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'sleep 1000 & sleep 1000 & i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done; exec sleep 1000'
	wait_until 20 holds '.cpu_seconds > 0.1 and .pids == 3'
	holds '.state == "started" and .memory > 10000 and .memory < 100000000 and .cpu_percent > 0 and .uptime > 0 and .uptime < 100'
	holds '.memory_max == null and .pids_max == null and .cpu_max == null'
	fw_ok stats box
	assert_has "${lines[1]}" started
}

@test "limits, and what the kernel counts under them" {
	fw_ok prepare fw --name box --set memory_max=64M --set pids_max=9 --set cpu_max=0.5
	fw_ok start box -- /bin/sh -c 'sleep 1000 & exec sleep 1000'
	wait_until 5 holds '.pids == 2'
	holds '.memory_max == 67108864 and .pids_max == 9 and .cpu_max == 0.5 and .memory_source == "cgroup" and .memory_peak >= .memory'
	fw_ok stats box
	assert_has "${lines[1]}" 64.0M
	assert_has "${lines[1]}" 2/9
}

@test "the rw layer as du counts it: hard links once, holes not, no link followed" {
	local rw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'mkdir -p /a/b; head -c 500000 /dev/zero >/a/file; ln /a/file /a/b/again; truncate -s 1G /hole; ln -s / /out; rm /etc/passwd; sync; exec sleep 1000'
	rw=$(fw get box workspace)/rw
	wait_until 10 test -c "$rw/etc/passwd"
	same() { [[ $(du -s --block-size=1 "$rw" | cut -f 1) == "$(stat_of rw_bytes)" && $(du -s --inodes "$rw" | cut -f 1) == "$(stat_of rw_inodes)" ]]; }
	wait_until 5 same
	(( $(stat_of rw_bytes) < 2000000 ))
}

@test "--follow: a line of JSON for each sample, until the instance is gone" {
	local follower
	fw_ok prepare fw --name box
	fw_ok start box
	"$FIRMWARED" --root "$FW_ROOT" stats -f --json --interval 100ms box >"$BATS_TEST_TMPDIR/out" 2>&1 3>&- &
	follower=$!
	three() { (( $(grep -c '"state":"started"' "$BATS_TEST_TMPDIR/out") >= 3 )); }
	wait_until 10 three
	fw_ok drop --force box
	wait "$follower"
	jq -se 'all(.name == "box")' "$BATS_TEST_TMPDIR/out"
	"$FIRMWARED" --root "$FW_ROOT" stats -f >"$BATS_TEST_TMPDIR/table" 3>&- &
	follower=$!
	wait_until 5 test -s "$BATS_TEST_TMPDIR/table"
	kill -TERM "$follower"
	wait "$follower"
}

@test "usage" {
	fw_fails 1 nosuch stats nosuch
	fw_fails 2 interval stats -f --interval 1ms
	assert_eq '[]' "$(fw stats --json)"
}
