#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# firmwared-supervise: what a running instance costs, and what happens when the
# program is missing or of another build.

load helpers

setup() { fw_setup; }
teardown() {
	fw_teardown
	FIRMWARED=$REPO/bin/firmwared
}

# supervisors: one for each started instance.
supervisors() {
	cat "$FW_ROOT"/run/instances/*/status.json | jq -r 'select(.state == "started") | .supervisor_pid'
}

# program PID
program() { readlink "/proc/$1/exe"; }

@test "20 running instances: supervisors take at most 1 MiB each, and list shows all" {
	local pids pid sum
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --count 20
	fw_ok start --all -- /bin/sleep 1000
	mapfile -t pids < <(supervisors)
	assert_eq 20 "${#pids[@]}"
	wait_until 10 renewed "${pids[@]}"
	for pid in "${pids[@]}"; do
		assert_eq "$REPO/bin/firmwared-supervise" "$(program "$pid")"
	done
	sum=$("$REPO/test/bench/pss" "${pids[@]}")
	printf 'PSS: %s KiB each\n' "$sum"
	((sum <= 1024)) || fail "$sum KiB each"
	fw_ok list --json
	assert_eq 20 "$(jq '[.[] | select(.state == "started")] | length' <<<"$output")"
}

# renewed PID...: they have forgotten what the start took.
renewed() {
	local pid words
	for pid; do
		mapfile -d '' -t words <"/proc/$pid/cmdline"
		((${#words[@]} == 4)) || return
	done
}

@test "a supervisor that has renewed itself: console, signals, log and exit as ever" {
	local pid
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	# shellcheck disable=SC2016 # the shell inside expands it
	fw_ok start box -- /bin/sh -c 'echo first; trap "echo told; exit 5" USR1; while :; do sleep 0.1; done'
	pid=$(supervisors)
	wait_until 10 renewed "$pid"
	wait_until 10 log_has first
	# Its parent is the thread that renewed the program; nothing else may reap it.
	assert_eq "$pid" "$(ps -o ppid= -p "$(fw get box pid)" | tr -d ' ')"
	fw_ok kill box --signal USR1
	assert_eq 5 "$(fw get box exit_code)"
	log_has told
	assert_eq 1 "$(fw logs box | grep -c first)"
}

log_has() { fw logs box | grep -q "$1"; }

@test "TERM ends a renewed supervisor's instance cleanly; KILL takes pid 1 along" {
	local pid one
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'
	pid=$(supervisors)
	wait_until 10 grep -q up "$FW_ROOT/workspaces/$(fw get box id)/console.log"
	wait_until 10 renewed "$pid"
	kill -TERM "$pid"
	wait_until 10 in_state box ready
	assert_eq 3 "$(fw get box exit_code)"

	fw_ok start box -- /bin/sleep 1000
	pid=$(supervisors) one=$(fw get box pid)
	wait_until 10 renewed "$pid"
	kill -KILL "$pid"
	wait_until 10 gone "$one"
	wait_until 10 in_state box ready
	assert_eq 137 "$(fw get box exit_code)"
}

gone() { [[ ! -e /proc/$1 ]]; }

@test "the small program links no command line, no settings, no eBPF library, no regular expressions" {
	local deps go
	go=$("$REPO/conf/find-go")
	deps=$(cd "$REPO" && "$go" list -deps ./cmd/firmwared-supervise)
	assert_has "$deps" firmwared/core/supervisor
	for it in firmwared/core/registry firmwared/core/config firmwared/core/hook urfave/cli toml cilium/ebpf net/http \
		encoding/xml text/template; do
		refute_has "$deps" "$it"
	done
	refute_has $'\n'"$deps"$'\n' $'\nregexp\n'
	(($(stat -c %s "$REPO/bin/firmwared-supervise") < 4000000)) || fail "it has $(stat -c %s "$REPO/bin/firmwared-supervise") bytes"
}

@test "firmwared-supervise of another build is refused; missing or not root's alone, firmwared does without" {
	local prefix=$BATS_TEST_TMPDIR/prefix small
	run make --no-print-directory -C "$REPO" install PREFIX="$prefix" sysconfdir="$prefix/etc" VERSION=other 3>&-
	[[ $status -eq 0 ]] || fail "$output"
	FIRMWARED=$prefix/bin/firmwared small=$prefix/libexec/firmwared/firmwared-supervise
	unset FIRMWARED_HOOK_DIRS FIRMWARED_CONFIG
	assert_eq 'firmwared-supervise other' "$("$small" version)"
	fw_ok version
	assert_eq '' "$stderr"
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	assert_eq "$small" "$(program "$(supervisors)")"
	# An upgrade: who runs goes on, and is reached.
	install -m 0755 "$REPO/bin/firmwared-supervise" "$small.new"
	mv "$small.new" "$small"
	fw_fails 125 "install both from one build" exec box -- /bin/true
	fw_ok kill box
	fw_fails 1 'install both from one build' start box -- /bin/sleep 1000
	run --separate-stderr fw version
	assert_eq 'firmwared other' "$output"
	assert_has "$stderr" 'install both from one build'

	chown nobody "$small"
	fw_ok start box -- /bin/sleep 1000
	assert_eq "$FIRMWARED" "$(program "$(supervisors)")"
	fw_ok kill box
	run --separate-stderr fw version
	assert_has "$stderr" 'belongs to uid'
	rm "$small"
	run -7 fw run fw --rm -- /bin/sh -c 'exit 7'
	run --separate-stderr fw version
	assert_has "$stderr" 'firmwared supervises by itself'
	assert_has "$stderr" 'does not exist'
}
