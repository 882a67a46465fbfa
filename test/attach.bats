#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `attach`: a person at an instance's console.

load helpers

setup() {
	fw_setup
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
}
teardown() { fw_teardown; }

# at_terminal COMMAND...: the program in a pty of 33 lines and 77 columns; keys
# come from stdin.
at_terminal() { script -qec "stty rows 33 cols 77; '$FIRMWARED' --root '$FW_ROOT' ${*@Q}" /dev/null 3>&-; }

log_has() { [[ $(fw logs box) == *"$1"* ]]; }

# keys FIFO: what is typed, in order: each "?TEXT" waits for TEXT in the log,
# all else is typed.
keys() {
	local key
	for key; do
		if [[ $key == '?'* ]]; then wait_until 20 log_has "${key#?}" || return; else printf '%b' "$key"; fi
	done
}

@test "attach shows the last screenful, types, follows the size, detaches with 0" {
	fw_ok start box -- /bin/sh -c 'stty size; echo hello; while read line; do echo "got $line"; stty size; done'
	wait_until 10 log_has hello
	assert_has "$(fw logs box)" '24 80' # before the first attach
	output=$(keys '?hello' 'abc\r' '?33 77' '\035' | at_terminal attach box)
	assert_has "$output" 'ctrl-] detaches'
	assert_has "$output" hello
	assert_has "$output" 'got abc'
	assert_has "$output" '33 77'
	assert_has "$output" 'detached; box goes on'
	assert_eq started "$(fw get box state)"
	output=$(keys 'def\r' '?got def' '\020\021' | at_terminal attach box --detach-keys ctrl-p,ctrl-q)
	assert_has "$output" 'ctrl-p,ctrl-q detaches'
	assert_has "$output" 'got abc'
	run_err 2 'detach-keys' fw attach box --detach-keys nonsense
}

@test "the exit status is pid 1's when it ends meanwhile" {
	fw_ok start box -- /bin/sh -c 'echo up; read line; exit 6'
	run at_terminal attach box < <(keys '?up' '\r')
	assert_eq 6 "$status"
	run_err 125 'not started' fw attach box
	run_err 125 'nosuch' fw attach nosuch
}

@test "a run without a terminal has nothing to type into, but can be watched" {
	mkfifo "$BATS_TEST_TMPDIR/in"
	"$FIRMWARED" --root "$FW_ROOT" run fw --name piped -- /bin/sh -c 'echo up; read x; echo last; exit 3' \
		<>"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out" 3>&- &
	wait_until 10 grep -q up "$BATS_TEST_TMPDIR/out"
	run_err 125 'no terminal to type into' fw attach piped
	fw attach piped --no-stdin >"$BATS_TEST_TMPDIR/watched" &
	wait_until 10 grep -q up "$BATS_TEST_TMPDIR/watched"
	echo >"$BATS_TEST_TMPDIR/in"
	local have=0
	wait $! || have=$?
	assert_eq '3 up last' "$have $(xargs <"$BATS_TEST_TMPDIR/watched")"
	wait_until 10 test ready = "$(fw get piped state)"
}

@test "several watch at once; one that is stopped neither stalls pid 1 nor costs the log a byte" {
	local stopped watching
	fw_ok start box -- /bin/sh -c 'echo up; read go; head -c 6000000 /dev/zero | tr "\\0" x; echo; echo all; exec sleep 1000'
	"$FIRMWARED" --root "$FW_ROOT" attach box --no-stdin >/dev/null 3>&- &
	stopped=$!
	"$FIRMWARED" --root "$FW_ROOT" attach box --no-stdin >"$BATS_TEST_TMPDIR/watched" 3>&- &
	watching=$!
	wait_until 10 grep -q up "$BATS_TEST_TMPDIR/watched"
	kill -STOP "$stopped"
	output=$(keys '\r' '?all' '\035' | at_terminal attach box)
	wait_until 30 grep -aq '^all' "$BATS_TEST_TMPDIR/watched"
	assert_eq 6000000 "$(fw logs box | tr -dc x | wc -c)"
	fw_ok kill box
	kill -CONT "$stopped"
	wait "$watching" || assert_eq 137 $?
	wait "$stopped" || true
}
