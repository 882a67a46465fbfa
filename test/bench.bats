#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The benchmark itself: that it measures, writes what it found, and leaves
# nothing. No figure is judged here: the machine is busy with tests.

load helpers

setup() { fw_setup; }
teardown() { fw_teardown; }

# bench: one round of ours and the floor; all its files are in this test's directory.
bench() {
	mkdir -p "$BATS_TEST_TMPDIR/tmp"
	env TMPDIR="$BATS_TEST_TMPDIR/tmp" QUICK=1 ROUNDS=1 PEERS=none MEASURES="$1" "$REPO/test/bench/run" "$BATS_TEST_TMPDIR/out" 3>&-
}

# no_files: none of the benchmark's; all else is found by the teardown's check.
no_files() { assert_eq '' "$(ls -A "$BATS_TEST_TMPDIR/tmp")" 'left behind'; }

# figure QUERY: of results.json; must be a number above 0.
figure() {
	local value
	value=$(jq -r "[.figures[] | select($1)][0].median" "$BATS_TEST_TMPDIR/out/results.json")
	[[ $value =~ ^[0-9.]+$ && $value != 0 ]] || fail "$1: $value"
}

@test "a quick run measures ours and the floor, writes numbers, a table and a picture, and leaves nothing" {
	run --separate-stderr bench 'run steps cycle exec rate'
	((status == 0)) || fail "$stderr"
	assert_has "$output" '| floor | directory | ms |'
	assert_eq "$output" "$(<"$BATS_TEST_TMPDIR/out/results.md")"
	for kind in directory ext4 squashfs; do
		figure ".measure == \"run\" and .who == \"floor\" and .what == \"$kind\""
		figure ".measure == \"run\" and .who == \"firmwared\" and .what == \"$kind, registered\""
		figure ".measure == \"run\" and .who == \"firmwared\" and .what == \"$kind, by path\""
		figure ".measure == \"steps\" and (.what | startswith(\"$kind, registered: \") and endswith(\"pid 1's first instruction\"))"
	done
	for what in prepare start "start to pid 1's first instruction" 'remount, running' kill 'start after a kill, on a new union' drop; do
		figure ".measure == \"cycle\" and .what == \"$what\""
	done
	figure '.measure == "exec" and .who == "firmwared"'
	figure '.measure == "rate" and .who == "floor" and .unit == "runs/s"'
	assert_eq 0 "$(jq '[.figures[].failed] | add' "$BATS_TEST_TMPDIR/out/results.json")"
	assert_has "$(<"$BATS_TEST_TMPDIR/out/results.svg")" '>firmwared</text>'
	no_files
}

@test "diff and many running instances are measured, and nothing is left" {
	run --separate-stderr bench 'diff list'
	((status == 0)) || fail "$stderr"
	figure '.measure == "diff" and .who == "firmwared"'
	figure '.measure == "list" and .unit == "KiB"'
	figure '.measure == "list" and .what == "list of 10"'
	figure '.measure == "list" and .what == "start, 10 running"'
	no_files
}

@test "first instructions, a large image and its page cache are measured, and nothing is left" {
	run --separate-stderr bench 'first add cache'
	((status == 0)) || fail "$stderr"
	figure '.measure == "first" and .who == "floor"'
	figure '.measure == "add" and .who == "openssl"'
	figure '.measure == "add" and .who == "firmwared"'
	figure '.measure == "cache" and (.what | startswith("page cache, 5 instances"))'
	no_files
}

@test "a run that is stopped cleans up, writes no results and fails" {
	bench 'run steps cycle' >"$BATS_TEST_TMPDIR/log" 2>&1 3>&- &
	local pid=$!
	wait_until 100 grep -q 'One throw-away run' "$BATS_TEST_TMPDIR/log" || fail "$(<"$BATS_TEST_TMPDIR/log")"
	pkill -TERM -P "$pid" -f test/bench/run || kill -TERM "$pid"
	local status=0
	wait "$pid" || status=$?
	((status != 0)) || fail 'succeeded'
	assert_has "$(<"$BATS_TEST_TMPDIR/log")" 'bench: stopped: nothing was written'
	[[ ! -e $BATS_TEST_TMPDIR/out/results.json ]] || fail 'wrote results'
	no_files
}

@test "what the program leaves is told, and taken away" {
	mkdir -p "$BATS_TEST_TMPDIR/tmp" "$BATS_TEST_TMPDIR/out"
	printf '#!/bin/bash\nif [[ $* == *prepare* ]]; then setsid sleep 1000 & fi\nexec %q "$@"\n' "$FIRMWARED" >"$BATS_TEST_TMPDIR/leaky"
	chmod +x "$BATS_TEST_TMPDIR/leaky"
	bench first >&2 # what it needs is built then; the picture shows nothing of that
	[[ ! -e $BATS_TEST_TMPDIR/out/results.svg ]] || fail 'a picture'
	run --separate-stderr unshare --mount --propagation private "$REPO/build/bench/driver" -program "$BATS_TEST_TMPDIR/leaky" \
		-tools "$REPO/build/bench" -by-hand "$REPO/test/bench/by-hand" -work "$BATS_TEST_TMPDIR/tmp/work" -out "$BATS_TEST_TMPDIR/out" \
		-quick -rounds 1 -peers none -measures cycle
	assert_eq 1 "$status"
	[[ $stderr =~ 'left behind: '(.*'; ')?'process '[0-9]+' (sleep)' ]] || fail "$stderr"
	no_files
}

@test "a measure or a neighbour that there is not is refused, and what there is, is told" {
	run_err 2 'there is no "runs"; there are all run steps' "$REPO/build/bench/driver" -program x -tools x -by-hand x -work x -out x -measures runs
	run_err 2 'there is no "crum"; there are all none crun' "$REPO/build/bench/driver" -program x -tools x -by-hand x -work x -out x -peers crum
}
