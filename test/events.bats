#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016,SC2154 # programs of jq and of instances; run sets these
# The event log, and waiting for what happens.

load helpers

setup() { fw_setup; }
teardown() { fw_teardown; }

firmware() { fw_ok firmware add "$(busybox_root)" --name fw; }

# told FILTER: what jq makes of all events, one a line.
told() { fw events --json | jq -c "$1"; }

# await PID: its status becomes $status.
await() {
	status=0
	wait "$1" || status=$?
}

# follow FILE ARG...: events -f in the background; sets FOLLOWER.
follow() {
	local file=$1
	shift
	"$FIRMWARED" --root "$FW_ROOT" events -f "$@" 3>&- >"$file" &
	FOLLOWER=$!
}

# followed FILE N: FILE came to have N lines.
followed() { wait_until 5 eval "(( \$(wc -l <'$1') >= $2 ))" || fail "$(<"$1")"; }

# fill FILE TEXT: appends it, as another writer would.
fill() { printf '%s\n' "$2" >>"$1"; }

supervisor_of() { jq .supervisor_pid "$FW_ROOT/run/instances/$(fw get "$1" id)/status.json"; }

@test "a life from add to remove, in order, with what each event has" {
	local fw box
	firmware
	fw=$output
	fw_ok prepare fw --name box
	box=$output
	fw_ok start box -- /bin/sh -c 'read x'
	fw_ok remount box
	fw_ok kill box
	fw_ok drop box
	run --separate-stderr fw run fw --rm --name once -- /bin/sh -c 'exit 7'
	assert_eq 7 "$status"
	fw_ok firmware remove fw
	assert_eq '1 firmware_added -|2 prepared box|3 started box|4 remounted box|5 dead box|6 dropped box|7 prepared once|8 started once|9 dead once|10 dropped once|11 firmware_removed -' \
		"$(told '"\(.seq) \(.type) \(.instance // "-")"' | tr -d '"' | paste -sd '|')"
	assert_eq "{\"firmware_id\":\"$fw\",\"firmware\":\"fw\",\"instance_id\":\"$box\",\"instance\":\"box\",\"exit_code\":137,\"signal\":\"SIGKILL\",\"reason\":\"signal\"}" \
		"$(told 'select(.seq == 5) | del(.seq, .time, .type)')"
	assert_eq '{"exit_code":7,"signal":null,"reason":"exited"}' "$(told 'select(.seq == 9) | {exit_code, signal, reason}')"
	assert_eq true "$(told 'select(.seq == 3) | .pid > 1')"
	assert_eq "\"$(busybox_root)\"" "$(told 'select(.seq == 11) | .path')"
	fw_ok events
	[[ ${lines[4]} =~ ^20[0-9-]+T[0-9:.]+[Z+-].*\ 5\ dead\ box\ firmware=fw\ exit_code=137\ signal=SIGKILL\ reason=signal$ ]] || fail "${lines[4]}"
	assert_eq 11 "${#lines[@]}"
}

@test "events without a root, of no such instance, and wrong usage" {
	fw_ok events
	assert_eq '' "$output$stderr"
	fw_ok events nobody --json
	assert_eq '' "$output$stderr"
	fw_fails 2 'is no time' events --since yesterday
	fw_fails 2 '' events --after -1
}

@test "--after resumes, --since begins at a moment, names choose" {
	local mid
	firmware
	fw_ok prepare fw --name one
	mid=$(date +%s.%N)
	fw_ok prepare fw --name two
	fw_ok events --json --after 2
	assert_eq 3 "$(jq .seq <<<"$output")"
	fw_ok events --json --after 3
	assert_eq '' "$output"
	fw_ok events --json --since "$(date -d "@$mid" --iso-8601=ns | tr , .)"
	assert_eq '"two"' "$(jq .instance <<<"$output")"
	fw_ok events --json --since 1h
	assert_eq 3 "${#lines[@]}"
	fw_ok events --json --since 0s
	assert_eq '' "$output"
	fw_ok events --json --since 0 one
	assert_eq '"one"' "$(jq .instance <<<"$output")"
	fw_ok events --json "$(fw get two id | cut -c1-8)"
	assert_eq '"two"' "$(jq .instance <<<"$output")"
}

@test "-f sees what comes, fast, and ends with 0 on Ctrl-C; nothing is missed or doubled over a rotation" {
	local log=$FW_ROOT/events.jsonl status=0 line big size
	firmware
	follow "$BATS_TEST_TMPDIR/seen" --json --after 1
	fw_ok prepare fw --name box
	followed "$BATS_TEST_TMPDIR/seen" 1
	# Fill the log up to its limit with the events of another root.
	line=$(jq -c '.seq = 2 | .type = "filler" | .message = ("x" * 1000)' "$log" | tail -n 1)
	big=$(for _ in {1..64}; do printf '%s\n' "$line"; done)
	for size in 80000 3000; do
		while (( $(stat -c %s "$log") < 4194304 - size )); do fill "$log" "$big"; done
		big=$line
	done
	while [[ ! -e $log.1 ]]; do fw_ok set box a=b; fw_ok remount box; done
	fw_ok drop box
	fw_ok run fw --rm -- /bin/true
	wait_until 5 grep -q '"seq":'"$(tail -n 1 "$log" | jq .seq)," "$BATS_TEST_TMPDIR/seen"
	kill -INT "$FOLLOWER"
	wait "$FOLLOWER" || status=$?
	assert_eq 0 "$status"
	assert_eq "$(seq 2 "$(tail -n 1 "$log" | jq .seq)")" "$(jq .seq "$BATS_TEST_TMPDIR/seen")"
	assert_eq 2 "$(find "$FW_ROOT" -maxdepth 1 -name 'events.jsonl*' | wc -l)"
}

@test "a supervisor that was killed: the next command tells its end, once" {
	firmware
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	kill -KILL "$(supervisor_of box)"
	wait_until 5 eval '[[ $(fw get box state) == ready ]]'
	assert_eq '' "$(told 'select(.type == "dead")')"
	fw_ok set box a=b
	fw_ok set box a=c
	fw_ok start box -- /bin/sleep 1000
	kill -KILL "$(supervisor_of box)"
	fw_ok drop --force box
	assert_eq '137 supervisor died|137 supervisor died' \
		"$(told 'select(.type == "dead") | "\(.exit_code) \(.reason)"' | tr -d '"' | paste -sd '|')"
	assert_eq 'prepared started dead started dead dropped' "$(told 'select(.instance).type' | tr -d '"' | paste -sd ' ')"
}

@test "an add that takes long tells its progress" {
	local image=$BATS_TEST_TMPDIR/big.img begun
	new_image "$image"
	truncate -s 512M "$image"
	begun=${EPOCHREALTIME/[.,]/}
	fw_ok firmware add "$image" --name big
	assert_eq true "$(fw events --json | jq -s --argjson most $(( (${EPOCHREALTIME/[.,]/} - begun) / 100000 )) '
		map(select(.type == "add_progress")) | length >= 1 and length <= $most and
		all(.[]; .total == 536870912 and .bytes <= .total and .firmware == "big") and ([.[].bytes] | . == sort)')"
	assert_eq '"firmware_added"' "$(told .type | tail -n 1)"
}

@test "a log that cannot be written fails nothing else" {
	firmware
	fw_ok prepare fw --name box
	mv "$FW_ROOT/events.jsonl" "$BATS_TEST_TMPDIR/aside"
	ln -s "$BATS_TEST_TMPDIR/aside" "$FW_ROOT/events.jsonl" # links are not followed
	fw_ok start box -- /bin/sleep 1000
	fw_ok kill box
	rm "$FW_ROOT/events.jsonl"
	fw_ok drop box
	assert_eq '1 dropped' "$(told '"\(.seq) \(.type)"' | tr -d '"')"
	assert_eq 2 "$(wc -l <"$BATS_TEST_TMPDIR/aside")"
}

@test "a failed hook of dead.d is told of" {
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	mkdir -p "$BATS_TEST_TMPDIR/hooks/dead.d"
	printf '#!/bin/sh\necho no luck >&2; exit 1\n' >"$BATS_TEST_TMPDIR/hooks/dead.d/bad"
	chmod 755 "$BATS_TEST_TMPDIR/hooks/dead.d/bad"
	firmware
	fw_ok prepare fw --name box
	follow "$BATS_TEST_TMPDIR/seen" --json --since 0s
	fw_ok start box -- /bin/true
	followed "$BATS_TEST_TMPDIR/seen" 3
	kill -INT "$FOLLOWER"
	wait "$FOLLOWER"
	assert_eq '"started""dead""hook_failed"' "$(jq .type "$BATS_TEST_TMPDIR/seen" | tr -d '\n')"
	assert_has "$(tail -n 1 "$BATS_TEST_TMPDIR/seen")" 'dead.d/bad: dead failed on instance box: no luck'
}

@test "wait: the status of one, now or from before; nothing to wait for is an error" {
	firmware
	fw_ok prepare fw --name box
	fw_fails 125 'it has not run since this machine booted' wait box
	fw_ok start box -- /bin/sh -c 'while [ ! -e /go ]; do sleep 0.05; done; exit 7'
	fw_fails 125 'instance box is still started after 100ms' wait box --timeout 100ms
	"$FIRMWARED" --root "$FW_ROOT" wait box 3>&- &
	touch "$(fw get box workspace)/union/go"
	await $!
	assert_eq 7 "$status"
	run --separate-stderr fw wait box
	assert_eq '7||' "$status|$output|$stderr"
	fw_ok start box -- /bin/true
	fw_ok wait box
	fw_fails 125 'no instance named "nobody"' wait nobody
	fw_fails 2 'is none of' wait box --state happy
	fw_fails 2 'more than 0' wait box --timeout 0s
	fw_fails 2 '' wait
}

@test "wait: several, each as it ends; killed, dropped and lost ones" {
	local pid
	firmware
	fw_ok prepare fw --name a
	fw_ok prepare fw --name b
	fw_ok prepare fw --name c
	fw_ok start a b -- /bin/sleep 1000
	fw_ok start c -- /bin/true
	"$FIRMWARED" --root "$FW_ROOT" wait --all 3>&- >"$BATS_TEST_TMPDIR/out" &
	pid=$!
	wait_until 5 grep -qx 'c 0' "$BATS_TEST_TMPDIR/out"
	fw_ok drop --force b
	wait_until 5 grep -qx 'b 137' "$BATS_TEST_TMPDIR/out"
	kill -KILL "$(supervisor_of a)"
	await "$pid"
	assert_eq 137 "$status"
	assert_eq 'c 0|b 137|a 137' "$(paste -sd '|' "$BATS_TEST_TMPDIR/out")"
}

@test "wait --state: reached now, later, or only for a moment; dropped meanwhile" {
	local state pid
	firmware
	fw_ok prepare fw --name box
	fw_ok wait box --state ready
	fw_fails 125 'instance box is still ready after 50ms' wait box --state started --timeout 50ms
	"$FIRMWARED" --root "$FW_ROOT" wait box --state started --timeout 10s 3>&- &
	pid=$!
	fw_ok start box -- /bin/true
	# The wait may have begun after so short a run: another one will do.
	until ! kill -0 "$pid" 2>/dev/null; do fw start box -- /bin/true 2>/dev/null || true; done
	wait "$pid"
	fw_ok wait box --state ready
	for state in started dropped; do
		"$FIRMWARED" --root "$FW_ROOT" wait box --state "$state" --timeout 10s 3>&- 2>"$BATS_TEST_TMPDIR/$state" &
		printf '%s\n' $! >"$BATS_TEST_TMPDIR/$state.pid"
	done
	fw_ok drop box
	await "$(<"$BATS_TEST_TMPDIR/dropped.pid")"
	assert_eq 0 "$status"
	await "$(<"$BATS_TEST_TMPDIR/started.pid")"
	assert_eq 125 "$status"
	assert_has "$(<"$BATS_TEST_TMPDIR/started")" 'instance box was dropped meanwhile'
}
