#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # stderr comes from run --separate-stderr
# The console log: every byte, from when on, how much of it is kept.

load helpers

setup() {
	fw_setup
	ROOTFS=$(busybox_root)
	SHARED=$BATS_TEST_TMPDIR/shared
	mkdir "$SHARED"
}
teardown() { fw_teardown; }

# logged PROGRAM [OPTION]...: an instance that runs it with plain pipes, whose output is logged as it is.
logged() {
	fw run "$ROOTFS" --name box --bind "$SHARED:/tmp" "${@:2}" -- /bin/sh -c "$1"
}

# background PROGRAM [OPTION]...: the same, in the background, with its process id in PID.
background() {
	logged "$@" 3>&- >/dev/null 2>&1 </dev/null &
	PID=$!
	started() { [[ $(fw get box pid) ]]; }
	wait_until 10 started
}

has() { fw logs box 2>/dev/null | grep -q -- "$1"; }

@test "random binary data comes back byte for byte, and stays over restarts" {
	head -c 3000000 /dev/urandom >"$SHARED/data"
	logged 'cat /tmp/data' >"$BATS_TEST_TMPDIR/out"
	cmp "$SHARED/data" "$BATS_TEST_TMPDIR/out"
	cmp "$SHARED/data" <(fw logs box)
	fw_ok start box -- /bin/sh -c 'printf "\000\377second\n"'
	wait_until 10 has second
	cmp <(cat "$SHARED/data"; printf '\000\377second\r\n') <(fw logs box)
}

@test "log_max drops the oldest first and says how much; what is kept is exact" {
	local kept
	head -c 1000000 /dev/urandom >"$SHARED/data"
	logged 'cat /tmp/data' --set log_max=64K >/dev/null
	run --separate-stderr fw logs box
	kept=$(fw logs box 2>/dev/null | wc -c)
	(( kept <= 65536 && kept > 40000 ))
	assert_has "$stderr" "the oldest $((1000000 - kept)) bytes were dropped"
	cmp <(tail -c "$kept" "$SHARED/data") <(fw logs box 2>/dev/null)
	(( $(cat "$(fw get box workspace)"/console.log* | wc -c) <= 65536 ))
	run --separate-stderr fw logs --tail 1 box
	assert_eq '' "$stderr" # nothing that was asked for is missing
}

@test "-f shows every byte of a log that is rotated meanwhile, and ends with the instance" {
	local follower
	head -c 400000 /dev/urandom >"$SHARED/data"
	# A piece at a time, each when the reader has the one before it.
	# shellcheck disable=SC2016
	background 'i=0; while [ $i -lt 40 ]; do dd if=/tmp/data bs=10000 skip=$i count=1 2>/dev/null; i=$((i+1)); while ! [ -e /tmp/go$i ]; do usleep 5000; done; done' --set log_max=64K
	"$FIRMWARED" --root "$FW_ROOT" logs -f box >"$BATS_TEST_TMPDIR/out" 2>"$BATS_TEST_TMPDIR/err" 3>&- &
	follower=$!
	local i
	for (( i = 1; i <= 40; i++ )); do
		read_all() { (( $(stat -c %s "$BATS_TEST_TMPDIR/out") == i * 10000 )); }
		wait_until 10 read_all || fail "piece $i: $(stat -c %s "$BATS_TEST_TMPDIR/out") bytes, $(<"$BATS_TEST_TMPDIR/err")"
		touch "$SHARED/go$i"
	done
	wait "$follower"
	wait "$PID"
	cmp "$SHARED/data" "$BATS_TEST_TMPDIR/out"
	assert_eq '' "$(<"$BATS_TEST_TMPDIR/err")"
	(( $(fw logs box 2>/dev/null | wc -c) <= 65536 ))
}

@test "--tail: the last lines, whatever ends them; with -f also what comes" {
	logged 'echo one; echo two; echo; printf end' >/dev/null
	assert_eq end "$(fw logs --tail 1 box)"
	assert_eq $'two\n\nend' "$(fw logs --tail 3 box)"
	assert_eq '' "$(fw logs --tail 0 box)"
	assert_eq $'one\ntwo\n\nend' "$(fw logs -n 1000 box)"
	assert_eq $'\nend' "$(fw logs box --tail 2 -f)"
	fw_fails 2 '--tail' logs --tail -3 box
}

@test "--since and --timestamps tell when; over runs and rotations" {
	local early late line
	early=@$(date +%s.%N)
	# shellcheck disable=SC2016
	background 'echo first; while ! [ -e /tmp/go ]; do usleep 10000; done; echo second; head -c 30000 /dev/zero | tr "\000" x; echo; echo third' --set log_max=64K
	wait_until 10 has first
	later() { [[ $(date +%s%N) -gt $(( $1 + 100000000 )) ]]; }
	wait_until 5 later "$(date +%s%N)"
	late=@$(date +%s.%N)
	touch "$SHARED/go"
	wait "$PID"
	assert_has "$(fw logs --since "$early" box)" first
	line=$(fw logs --since "$late" box | head -n 1)
	assert_eq second "$line"
	wait_until 5 later "$(date +%s%N)" # what is younger than a stamp may be shown, too
	assert_eq '' "$(fw logs --since 0s box)"
	assert_has "$(fw logs --since 1h box)" first
	assert_eq "$(fw logs box)" "$(fw logs box --timestamps | cut -d ' ' -f 2-)"
	fw logs box --timestamps | while read -r stamp line; do
		[[ $(date -d "$stamp" +%s%N) -ge $(date -d "$early" +%s%N) ]] || fail "$stamp $line is before $early"
		[[ $line != second || $(date -d "$stamp" +%s%N) -ge $(date -d "$late" +%s%N) ]] || fail "$stamp $line is before $late"
	done
	fw_fails 2 '--since' logs --since yesterday-ish box
}

@test "a log of an older version, without times, is shown whole" {
	logged 'echo new' >/dev/null
	printf 'old\n' >"$(fw get box workspace)/console.log"
	rm "$(fw get box workspace)/console.log.times"
	assert_eq old "$(fw logs box)"
	assert_has "$(fw logs --timestamps box)" old
	fw_ok start box -- /bin/echo newer
	wait_until 10 has newer
	assert_eq $'old\nnewer\r' "$(fw logs box)"
	assert_eq newer "$(fw logs --since 1h box | tr -d '\r')"
}

@test "one that never ran has an empty log; a dropped one leaves none" {
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	fw_ok logs box
	assert_eq '' "$output$stderr"
	fw_ok logs -f box
	fw_ok start box -- /bin/sh -c 'head -c 100000 /dev/zero'
	local workspace
	workspace=$(fw get box workspace)
	fw_ok drop --force box
	[[ ! -e $workspace ]]
}
