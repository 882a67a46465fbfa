#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# FIRMWARED_TRACE: where the time of a command goes.

# shellcheck disable=SC2154,SC2016 # set by run; for the instance
load helpers

setup() { fw_setup; }
teardown() { fw_teardown; }

@test "trace: every step of a run with the milliseconds, on stderr, and nothing without it" {
	local tree step line ms last=0
	tree=$(busybox_root)
	export FIRMWARED_TRACE=1
	fw_ok run --rm "$tree" -- /bin/sh -c 'echo "out $FIRMWARED_TRACE"'
	assert_eq 'out ' "$output" # the instance is told nothing
	for step in main entered run.added 'hook mount mount started' 'hook mount mount ended' lower.verified \
		union.verified start.ready sandbox.cloned supervise.started run.over union.unmounted drop.forgotten exit; do
		[[ $stderr$'\n' == *"  $step"$'\n'* ]] || fail "no step $step: $stderr"
	done
	while read -r line; do
		[[ $line =~ ^firmwared:\ trace\ +([0-9]+)\.([0-9]{2})\ ms\ +\+[0-9]+\.[0-9]{2}\ \ [a-z] ]] || fail "line: $line"
		ms=$((10#${BASH_REMATCH[1]}${BASH_REMATCH[2]}))
		((ms >= last)) || fail "the time went back: $line"
		last=$ms
	done <<<"$stderr"
	FIRMWARED_TRACE=0 fw_ok list
	assert_eq '' "$stderr"
	unset FIRMWARED_TRACE
	fw_ok list
	assert_eq '' "$stderr"
}

@test "trace: a time to begin from counts the exec" {
	local first
	FIRMWARED_TRACE=$(date +%s.%N) fw_ok version
	first=${stderr_lines[0]}
	[[ $first =~ trace\ +([0-9]+)\.([0-9]{2})\ ms ]] || fail "$first"
	((10#${BASH_REMATCH[1]}${BASH_REMATCH[2]} > 0)) || fail "nothing before main: $first"
}
