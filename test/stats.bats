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

# --- show ---------------------------------------------------------------------

# shown EXPRESSION: of show --json.
shown() { fw show box --json | jq -e "$1"; }

@test "show: processes, mounts, walls, limits and the options of the run" {
	fw_ok prepare fw --name box --set memory_max=64M
	shown '.state == "ready" and .union.mounted and .lowers[0].source == "current" and .lowers[0].firmware == "fw"'
	shown '.confinement == null and .network == null and .limits == null and .start == null and .hook_error == null and .supervisor_pid == null'
	fw_ok start box --env A='b c' --cwd /tmp --bind "$ROOTFS:/mnt:ro" --set cpu_max=0.5 -- /bin/sleep 1000
	shown '.limits == {"memory_max":67108864,"cpu_max":0.5,"pids_max":null} and .network.mode == "none" and .network.addresses == ["lo 127.0.0.1/8","lo ::1/128"]'
	shown '.start.args == ["/bin/sleep","1000"] and .start.env == ["A=b c"] and .start.binds[0].read_only and .supervisor_pid > 1'
	shown '(.confinement.capabilities | length) > 3 and (.confinement.capabilities | contains(["sys_module"]) | not)'
	assert_eq "$(jq .supervisor_pid "$FW_ROOT/run/instances/$(fw get box id)/status.json")" "$(fw show box --json | jq .supervisor_pid)"
	fw show box --json | jq -r '.cgroups[]' | while read -r dir; do test -d "$dir"; done
	fw_ok show box
	assert_has "$output" 'memory_max:   64.0M'
	assert_has "$output" 'command:      /bin/sleep 1000'
	assert_has "$output" '/console.log'
}

@test "show: a firmware directory that was made anew is outdated, one that is gone is gone" {
	new_root "$BATS_TEST_TMPDIR/final"
	fw_ok firmware add "$BATS_TEST_TMPDIR/final" --name dev
	fw_ok prepare dev --name box
	shown '.lowers[0].source == "current"'
	mv "$BATS_TEST_TMPDIR/final" "$BATS_TEST_TMPDIR/old"
	shown '.lowers[0].source == "gone"'
	new_root "$BATS_TEST_TMPDIR/final"
	shown '.lowers[0].source == "outdated"'
	fw_ok remount box
	shown '.lowers[0].source == "current"'
}

@test "show: the last exit, the log, and the last hook error of instance and firmware" {
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	mkdir "$BATS_TEST_TMPDIR/hooks"
	cat >"$BATS_TEST_TMPDIR/hooks/moody.hook" <<-END
		#!/bin/bash
		[[ \$FIRMWARED_ACTION == describe ]] && exec printf 'api=1\nlayers=union\nsummary=moody\n'
		if [[ -e '$BATS_TEST_TMPDIR/bad' && \$FIRMWARED_ACTION != unmount ]]; then printf 'no mood\nfor that\n' >&2; exit 1; fi
		exec "${FIRMWARED_HOOK_DIRS##*:}/mount.hook"
	END
	chmod 755 "$BATS_TEST_TMPDIR/hooks/moody.hook"
	fw_ok prepare fw --name box --union moody
	fw_ok start box -- /bin/sh -c 'printf 12345; exit 9'
	ended() { shown '.state == "ready" and .exit_code == 9'; }
	wait_until 10 ended
	shown '.log.bytes == 5 and .log.dropped == 0 and .log.lost == 0'
	touch "$BATS_TEST_TMPDIR/bad"
	run ! fw start box
	shown '.hook_error.hook == "moody" and .hook_error.action == "mount" and .hook_error.layer == "union" and .hook_error.stderr == ["no mood", "for that"]'
	fw_ok show box
	assert_has "$output" 'last exit:    exited with status 9'
	assert_has "$output" 'last hook error'
	assert_has "$output" 'stderr:       no mood'
	rm "$BATS_TEST_TMPDIR/bad"
	assert_eq null "$(fw firmware show fw --json | jq .hook_error)"
}

@test "firmware show: the last hook error, until it is removed" {
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	mkdir "$BATS_TEST_TMPDIR/hooks" "$BATS_TEST_TMPDIR/dir"
	printf '#!/bin/sh\n[ $FIRMWARED_ACTION = describe ] && exec printf "api=1\\nlayers=lower\\nsummary=bad\\n"\n[ $FIRMWARED_ACTION != mount ] || { echo "no such thing" >&2; exit 4; }\n' >"$BATS_TEST_TMPDIR/hooks/bad.hook"
	chmod 755 "$BATS_TEST_TMPDIR/hooks/bad.hook"
	fw_ok firmware add "$BATS_TEST_TMPDIR/dir" --name sad --hook bad
	run ! fw prepare sad
	fw firmware show sad --json | jq -e '.hook_error | .hook == "bad" and .action == "mount" and .layer == "lower" and .stderr == ["no such thing"]'
	fw_ok firmware show sad
	assert_has "$output" 'no such thing'
	fw_ok firmware remove sad
	assert_eq '' "$(ls "$FW_ROOT/run/hook_errors")"
}
