#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016,SC2154 # hooks are written here; run sets stderr
# Commands on many instances: several at once, Ctrl-C, who failed, the order, the bar.

load helpers

setup() {
	fw_setup || return
	W=$BATS_TEST_TMPDIR
	mkdir -p "$W"/site/{prepared,started,dropped}.d "$W/calls"
	export FIRMWARED_HOOK_DIRS=$W/site:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	fw_ok firmware add "$(busybox_root)" --name fw
}
teardown() {
	: >"$W/go"
	fw_teardown
}

# site FILE: a hook on standard input.
site() {
	cat >"$W/site/$1"
	chmod 755 "$W/site/$1"
}

# meeting FILE N: a life-cycle hook that fails unless N calls of it are at work at once.
meeting() {
	site "$1" <<-EOF
		#!/bin/sh
		: >"$W/calls/\$FIRMWARED_ID"
		for i in \$(seq 100); do
			set -- "$W"/calls/*
			[ \$# -lt $2 ] || exit 0
			sleep 0.05
		done
		echo "nobody else came"
		exit 1
	EOF
}

# alone FILE: a life-cycle hook that fails if another call is at work.
alone() {
	site "$1" <<-EOF
		#!/bin/sh
		mkdir "$W/busy" || exit 1
		sleep 0.05
		rmdir "$W/busy"
	EOF
}

# names NAME...: instances of these names.
names() {
	local name
	for name; do fw_ok prepare fw --name "$name"; done
}

count() { fw list --json | jq length; }

# on_terminal ARG...: what a person sees.
on_terminal() { script -qec "stty rows 33 cols 77; '$FIRMWARED' --root '$FW_ROOT' ${*@Q}" /dev/null 3>&- </dev/null; }

@test "prepare: as many at once as --jobs says, also in the union's hook; ids of all" {
	local hook=${FIRMWARED_HOOK_DIRS##*:}/mount.hook
	site meet.hook <<-EOF
		#!/bin/sh
		case \$FIRMWARED_ACTION in
		describe) printf 'api=1\nlayers=union\n'; exit 0 ;;
		mount) "$W/site/meet" || exit 1 ;;
		esac
		exec "$hook"
	EOF
	meeting meet 3
	fw_ok prepare fw --count 3 --union meet --jobs 3
	assert_eq 3 "${#lines[@]}"
	assert_eq '' "$stderr"
	assert_eq "$(fw list --json | jq -r '.[].id' | sort)" "$(sort <<<"$output")"
}

@test "--jobs 1, or the setting: one after the other" {
	alone prepared.d/alone
	fw_ok prepare fw --count 4 --jobs 1
	FIRMWARED_JOBS=1 fw_ok prepare fw --count 4
	fw_fails 2 '--jobs must be' prepare fw --jobs -1
	fw_fails 2 '--jobs must be' kill --all --jobs 2000
	fw_ok drop --all
}

@test "start, kill, restart, reset, remount and drop with --all: several at once" {
	fw_ok prepare fw --count 3
	meeting started.d/meet 3
	fw_ok start --all --jobs 3 -- /bin/sleep 1000
	assert_eq '["started"]' "$(fw list --json | jq -c '[.[].state] | unique')"
	rm "$W"/calls/*
	fw_ok restart --all --jobs 3
	fw_ok remount --all --jobs 3
	assert_eq 3 "${#lines[@]}"
	rm "$W"/calls/*
	fw_ok reset --all --restart --jobs 3
	fw_ok kill --all --jobs 3
	assert_eq '["ready"]' "$(fw list --json | jq -c '[.[].state] | unique')"
	rm "$W"/calls/*
	meeting dropped.d/meet 3
	fw_ok drop --all --jobs 3
	assert_eq '' "$stderr"
	assert_eq 0 "$(count)"
}

@test "one fails of many: it is named in one line, the others are done, and the status is 1" {
	names a b c d
	site started.d/no <<-'EOF'
		#!/bin/sh
		[ "$FIRMWARED_NAME" != b ] || { echo "not on a Monday" >&2; exit 1; }
	EOF
	fw_fails 1 'b' start --all -- /bin/sleep 1000
	assert_has "$stderr" 'not on a Monday'
	assert_eq 'a started,b ready,c started,d started' "$(fw list --json | jq -r '[.[] | "\(.name) \(.state)"] | sort | join(",")')"
	fw_fails 1 'cannot drop instance c: it is started' drop b c --jobs 2
	fw_fails 1 'none' kill a none d
	assert_eq 'a ready,c started,d ready' "$(fw list --json | jq -r '[.[] | "\(.name) \(.state)"] | sort | join(",")')"
}

@test "what is printed comes in the order of the names, whoever is first" {
	names a b c
	fw_ok remount c a b --jobs 3 --json
	assert_eq 'c a b' "$(jq -r '[.[].instance] | join(" ")' <<<"$output")"
	local ids=()
	for name in c a b; do ids+=("$(fw get "$name" id)"); done
	# c waits until the others are gone.
	site dropped.d/last <<-EOF
		#!/bin/sh
		: >"$W/calls/\$FIRMWARED_NAME"
		[ "\$FIRMWARED_NAME" = c ] || exit 0
		for i in \$(seq 100); do [ ! -e "$W/calls/a" ] || [ ! -e "$W/calls/b" ] || exit 0; sleep 0.05; done
		exit 1
	EOF
	fw_ok drop --keep c a b --jobs 3
	assert_eq "${ids[*]}" "$(awk -F/ '{print $NF}' <<<"$output" | paste -sd' ')"
}

# interrupted SIGNAL WANT TEXT: prepare of 8 by 2, of which two are ready and two are in their hooks.
interrupted() {
	local pid status=0
	rm -f "$W"/calls/*
	"$FIRMWARED" --root "$FW_ROOT" prepare fw --count 8 --jobs 2 >"$W/out" 2>"$W/err" 3>&- </dev/null &
	pid=$!
	wait_until 10 eval '(( $(ls "$W/calls" | wc -l) == 4 ))'
	kill "-$1" "$pid"
	wait "$pid" || status=$?
	assert_eq "$2" "$status"
	assert_eq "firmwared: $3: 2 of 8 done, 4 not begun" "$(tail -n 1 "$W/err")"
	assert_eq 3 "$(wc -l <"$W/err")" # and a line for each that was under way
	assert_eq 2 "$(wc -l <"$W/out")"
	assert_eq "$(sort "$W/out")" "$(fw list --json | jq -r '.[].id' | sort)"
	assert_eq "$(sort "$W/out")" "$(find "$FW_ROOT/workspaces" -mindepth 1 -maxdepth 1 -printf '%f\n' | sort)"
	fw_ok drop --all
}

@test "Ctrl-C or TERM in the middle: no more is begun, what was under way is undone, what is ready stays" {
	site prepared.d/wait <<-EOF
		#!/bin/sh
		: >"$W/calls/\$FIRMWARED_ID"
		set -- "$W"/calls/*
		[ \$# -gt 2 ] || exit 0
		while [ ! -e "$W/go" ]; do sleep 0.05; done
	EOF
	interrupted INT 130 interrupted
	interrupted TERM 143 'ended by a signal (terminated)'
}

@test "Ctrl-C at drop --all: each is there or gone, none is half" {
	local pid status=0
	fw_ok prepare fw --count 6
	fw_ok start --all -- /bin/sleep 1000
	site dropped.d/wait <<-EOF
		#!/bin/sh
		: >"$W/calls/\$FIRMWARED_ID"
		while [ ! -e "$W/go" ]; do sleep 0.05; done
	EOF
	"$FIRMWARED" --root "$FW_ROOT" drop --force --all --jobs 2 >"$W/out" 2>"$W/err" 3>&- </dev/null &
	pid=$!
	wait_until 10 eval '(( $(ls "$W/calls" | wc -l) == 2 ))'
	kill -INT "$pid"
	: >"$W/go"
	wait "$pid" || status=$?
	assert_eq 130 "$status"
	assert_eq 'firmwared: interrupted: 2 of 6 done, 4 not begun' "$(<"$W/err")"
	assert_eq '["started"]' "$(fw list --json | jq -c '[.[].state] | unique')"
	assert_eq 4 "$(count)"
}

@test "a progress bar: on a terminal only, and not with --quiet, with --json or for one" {
	run on_terminal prepare fw --count 3
	assert_eq 0 "$status"
	assert_has "$output" 'prepare  '
	assert_has "$output" '/3)'
	run on_terminal kill --all
	assert_has "$output" 'kill  '
	assert_has "$output" 'was not running'
	for words in 'prepare fw --count 2 --quiet' 'remount --all --json' 'prepare fw --count 1' 'remount --all -q'; do
		# shellcheck disable=SC2086 # words
		run on_terminal $words
		assert_eq 0 "$status"
		refute_has "$output" '%'
	done
	fw_ok kill --all
	refute_has "$stderr" '%'
	run on_terminal drop --all
	assert_eq 0 "$status"
	assert_has "$output" 'drop  '
}
