#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2154 # stderr comes from run --separate-stderr
#
# test/vm/run seen from the host: statuses, streams, the time limit, a power cut. What the
# machine is like inside is test/vm/smoke.bats, which the first test runs.

bats_require_minimum_version 1.5.0
BATS_TEST_TIMEOUT=1500 # emulation is slow

setup() {
	vm=$BATS_TEST_DIRNAME/vm
	dir=$BATS_TEST_TMPDIR
	handle=
}

teardown() {
	if [[ $handle ]]; then
		"$vm/run" --cut "$handle"
		rm -rf "$handle"
	fi
}

# $1: seconds; the rest: a command, tried until it succeeds.
wait_until() {
	local end=$((SECONDS + $1))

	shift
	until "$@"; do
		((SECONDS < end)) || return
		sleep 0.1
	done
}

@test "inside: the smoke tests pass, status 0" {
	run --separate-stderr "$vm/bats" --timeout 120 "$vm/smoke.bats"
	printf '%s\n' "$output" "$stderr"
	[[ $status == 0 ]]
	[[ ${lines[0]} =~ ^1\.\.[1-9] && $output != *'not ok'* ]]
	[[ ! -e $vm/written-in-the-vm ]]
}

@test "inside: what the program does on this kernel alone" {
	# test/vmwalls.bats has the slow ones.
	local -a files

	mapfile -t files < <(find "$vm" -name '*.bats' ! -name smoke.bats ! -name walls.bats ! -name escape.bats ! -name inits.bats | sort)
	run --separate-stderr "$vm/bats" --timeout 1400 "${files[@]}"
	printf '%s\n' "$output" "$stderr"
	[[ $status == 0 && $output != *'not ok'* ]]
}

@test "inside: profiles, and the walls of cgroup v2" {
	make -s -C "$vm/../.." bin/firmwared build/apparmor.test 3>&-
	run --separate-stderr "$vm/bats" --timeout 1400 "$vm/walls.bats"
	printf '%s\n' "$output" "$stderr"
	[[ $status == 0 && $output == *'ok 1 '* && $output != *'not ok'* ]]
}

@test "power cut: what was flushed is there at the next boot; streams apart; status 7" {
	handle=$("$vm/run" --timeout 120 --background --disk "$dir/disk" -- \
		sh -c 'echo kept >/var/lib/file; sync /var/lib/file; echo written; while :; do date >/var/lib/loop; done')
	wait_until 60 grep -q written "$handle/stdout"
	"$vm/run" --cut "$handle"
	run grep exit "$handle/control"
	[[ $status == 1 ]]

	run -7 --separate-stderr "$vm/run" --timeout 120 --disk "$dir/disk" -- \
		sh -c 'cat /var/lib/file; printf "no newline" >&2; exit 7'
	[[ $output == kept && $stderr == 'no newline' ]]
}

@test "a signal is status 128+N; kernel arguments, environment, a shared directory" {
	# shellcheck disable=SC2016
	run -137 --separate-stderr "$vm/run" --timeout 120 --append apparmor=0 --env 'A=b c' --rw "$dir" -- \
		sh -c 'echo "$A"; cat /sys/module/apparmor/parameters/enabled; echo here >"$0/file"; kill -KILL $$' "$dir"
	printf '%s\n' "$output" "$stderr"
	[[ ${lines[0]} == 'b c' && ${lines[1]} == N ]]
	[[ $(<"$dir/file") == here ]]
}

@test "the time limit ends the machine: status 124" {
	local began=$SECONDS

	run -124 --separate-stderr "$vm/run" --timeout 3 -- sleep 1000
	((SECONDS - began < 15))
	[[ $stderr == *'the time is up: 3 s'* ]]
}

@test "wrong usage and wrong handles: status 125, nothing booted" {
	run -125 "$vm/run"
	run -125 "$vm/run" --no-such-option -- true
	run -125 "$vm/run" --memory much -- true
	run -125 "$vm/run" --cut "$dir/none"
	run -125 "$vm/bats"
}
