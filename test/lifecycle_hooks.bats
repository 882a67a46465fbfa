#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016,SC2154 # hooks are written here; run sets stderr
# Life-cycle hooks: who is called when, with what, and what a failure does.

load helpers

setup() {
	fw_setup || return
	W=$BATS_TEST_TMPDIR LOG=$BATS_TEST_TMPDIR/calls
	mkdir -p "$W"/{site,late}/{prepared,started,dead,dropped}.d
	export FIRMWARED_HOOK_DIRS=$W/site:$W/late:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	: >"$LOG"
}
teardown() { fw_teardown; }

# moment_hook FILE [BODY]: a hook that notes its file and moment, and BODY.
moment_hook() {
	printf '#!/bin/sh\necho "%s $FIRMWARED_ACTION" >>%q\n%s\n' "${1##*/}" "$LOG" "${2:-}" >"$W/$1"
	chmod 755 "$W/$1"
}

# recorder MOMENT...: hooks that note the moment, the name and what it is about.
recorder() {
	local moment
	for moment in "$@"; do
		cat >"$W/site/$moment.d/10-note" <<-END
			#!/bin/sh
			echo "\$FIRMWARED_ACTION \$FIRMWARED_NAME\${FIRMWARED_EXIT_CODE:+ \$FIRMWARED_EXIT_CODE \$FIRMWARED_EXIT_REASON}" >>$LOG
		END
		chmod 755 "$W/site/$moment.d/10-note"
	done
}

firmware() { fw_ok firmware add "$(busybox_root)" --name fw; }

# called N LINE: LINE was noted N times.
called() { [[ $(grep -cxF -- "$2" "$LOG") == "$1" ]]; }

# eventually N LINE: it comes to be noted N times, and no more.
eventually() {
	wait_until 5 called "$1" "$2" || fail "calls: $(<"$LOG")" || return
	no_enders || wait_until 5 no_enders || return
	called "$1" "$2" || fail "calls: $(<"$LOG")"
}

# no_enders: no process is at work after the end of a run of this root.
no_enders() {
	local dir words
	for dir in /proc/[0-9]*; do
		mapfile -d '' -t words <"$dir/cmdline" || continue
		[[ ${words[1]:-} != ended ]] || ! tr '\0' '\n' <"$dir/environ" | grep -qxF "FIRMWARED_STATE_DIR=$FW_ROOT" || return 1
	done 2>/dev/null
}

supervisor_of() { jq .supervisor_pid "$FW_ROOT/run/instances/$(fw get "$1" id)/status.json"; }

@test "all four moments of a life, in order" {
	recorder prepared started dead dropped
	firmware
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	fw_ok kill box
	fw_ok start box -- /bin/sleep 1000
	fw_ok drop --force box
	assert_eq "$(printf '%s\n' 'prepared box' 'started box' 'dead box 137 killed by SIGKILL' \
		'started box' 'dead box 137 killed by SIGKILL' 'dropped box')" "$(<"$LOG")"
}

@test "the environment is exactly the contract's" {
	local moment id work fixed want got pid
	for moment in prepared started dead dropped; do
		printf '#!/bin/sh\nenv >%q\npwd >>%q\n' "$W/env.$moment" "$W/env.$moment" >"$W/site/$moment.d/env"
		chmod 755 "$W/site/$moment.d/env"
	done
	firmware
	fw_ok prepare fw --name box
	id=$output work=$FW_ROOT/workspaces/$output
	SECRET=x fw_ok start box -- /bin/sh -c 'exec sleep 1000'
	fw_ok get box pid
	pid=$output
	fw_ok kill box
	fw_ok drop box
	fixed=(/ FIRMWARED_API=1 "FIRMWARED_FIRMWARE=$(busybox_root)" FIRMWARED_FIRMWARE_NAME=fw "FIRMWARED_ID=$id"
		"FIRMWARED_LIB=${FIRMWARED_HOOK_DIRS##*:}" FIRMWARED_NAME=box FIRMWARED_TIMEOUT=30 FIRMWARED_VERBOSE=n LC_ALL=C.UTF-8
		PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin PWD=/)
	for moment in prepared started dead dropped; do
		got=$(grep -vE '^(FIRMWARED_X_|OLDPWD=|SHLVL=|_=)' "$W/env.$moment" | sort)
		want=("${fixed[@]}" "FIRMWARED_ACTION=$moment")
		[[ $moment == dropped ]] || want+=("FIRMWARED_UNION=$work/union" "FIRMWARED_WORKSPACE=$work")
		case $moment in
		started) want+=("FIRMWARED_PID=$pid") ;;
		dead) want+=(FIRMWARED_EXIT_CODE=137 'FIRMWARED_EXIT_REASON=killed by SIGKILL') ;;
		esac
		assert_eq "$(printf '%s\n' "${want[@]}" | sort)" "$got" "$moment"
	done
}

@test "name order over all directories, the first of a name wins, a link to /dev/null masks, left-overs are ignored" {
	moment_hook late/prepared.d/10-a
	moment_hook site/prepared.d/20-b
	moment_hook late/prepared.d/20-b 'exit 1'
	moment_hook site/prepared.d/30-C.sh
	moment_hook late/prepared.d/40-masked 'exit 1'
	ln -s /dev/null "$W/site/prepared.d/40-masked"
	local name
	for name in 05-x~ 05-x.bak 05-x.dpkg-dist 05-x.rpmsave .hidden _x; do moment_hook "site/prepared.d/$name" 'exit 1'; done
	firmware
	fw_ok prepare fw --name box
	assert_eq '10-a prepared|20-b prepared|30-C.sh prepared' "$(paste -sd '|' "$LOG")"
}

@test "prepared: a failure removes the instance again and is told; the rest is not called" {
	moment_hook site/prepared.d/10-ok
	moment_hook site/prepared.d/20-bad 'echo "no port is free" >&2; exit 1'
	moment_hook site/prepared.d/30-never
	moment_hook site/dropped.d/undo
	firmware
	fw_fails 1 'prepared.d/20-bad: prepared failed on instance box: no port is free' prepare fw --name box
	assert_eq '10-ok prepared|20-bad prepared|undo dropped' "$(paste -sd '|' "$LOG")"
	assert_eq '[]' "$(fw list --json)"
	assert_eq '' "$(find "$FW_ROOT"/{workspaces,run/instances,run/pending} -mindepth 1)"
	fw_fails 125 'no port is free' run fw --rm -- /bin/true
	assert_eq '[]' "$(fw list --json)"
}

@test "started: a failure kills the instance and fails the start, however it is started" {
	recorder dead
	moment_hook site/started.d/bad 'kill -0 "$FIRMWARED_PID" && echo "not today" >&2; exit 1'
	firmware
	fw_ok prepare fw --name box
	fw_fails 1 'started.d/bad: started failed on instance box: not today' start box -- /bin/sleep 1000
	assert_eq ready "$(fw get box state)"
	called 1 'dead box 137 killed by SIGKILL'
	fw_fails 125 'not today' run fw --name other -- /bin/sleep 1000
	assert_eq ready "$(fw get other state)"
	called 1 'dead other 137 killed by SIGKILL'
	run -125 --separate-stderr fw start box --attach -- /bin/sleep 1000 </dev/null
	assert_has "$stderr" 'not today'
	assert_eq ready "$(fw get box state)"
	called 2 'dead box 137 killed by SIGKILL'
	rm "$W/site/started.d/bad"
	fw_ok start box -- /bin/sleep 1000
}

@test "dead and dropped: a failure is a warning, and the rest is called" {
	local moment
	for moment in dead dropped; do
		moment_hook "site/$moment.d/10-bad" 'echo oops >&2; exit 7'
		moment_hook "site/$moment.d/20-good"
	done
	firmware
	fw_ok run fw --rm -- /bin/true
	assert_has "$stderr" 'warning: dead.d/10-bad: dead failed'
	assert_has "$stderr" 'warning: dropped.d/10-bad: dropped failed'
	assert_eq '10-bad dead|20-good dead|10-bad dropped|20-good dropped' "$(paste -sd '|' "$LOG")"
	assert_eq '[]' "$(fw list --json)"
}

@test "one that cannot be trusted is refused by name; a moment that may abort fails closed" {
	moment_hook site/prepared.d/10-ok
	moment_hook late/prepared.d/20-open
	moment_hook site/dead.d/10-theirs
	moment_hook site/dead.d/20-good
	chmod 777 "$W/late/prepared.d/20-open"
	chown 1 "$W/site/dead.d/10-theirs"
	firmware
	fw_fails 1 "$W/late/prepared.d/20-open is writable by others" prepare fw --name box
	assert_eq '' "$(<"$LOG")"
	chmod 644 "$W/late/prepared.d/20-open"
	fw_fails 1 'is not executable' prepare fw --name box
	chmod 755 "$W/late/prepared.d/20-open" && chmod 777 "$W/late/prepared.d"
	fw_fails 1 "$W/late/prepared.d is writable by others" prepare fw --name box
	chmod 755 "$W/late/prepared.d"
	fw_ok run fw -- /bin/true
	assert_has "$stderr" "warning: cannot trust hook: $W/site/dead.d/10-theirs belongs to uid 1"
	assert_eq '10-ok prepared|20-open prepared|20-good dead' "$(paste -sd '|' "$LOG")"
}

@test "a hook that takes too long is ended at the limit of its directory" {
	export FIRMWARED_HOOK_TIMEOUTS='prepared.d=200ms'
	moment_hook site/prepared.d/slow 'sleep 1000'
	firmware
	fw_fails 1 'prepared.d/slow: prepared timed out after 200ms' prepare fw --name box
	assert_eq '[]' "$(fw list --json)"
}

@test "dead: once after an end by itself, without another command" {
	recorder dead
	firmware
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'exit 7'
	eventually 1 'dead box 7 exited with status 7'
	fw_ok start box -- /bin/sh -c 'read line'
	fw_ok kill box
	eventually 1 'dead box 137 killed by SIGKILL'
	assert_eq '' "$(ls "$FW_ROOT/run/pending")"
}

@test "dead: once after kill, restart, drop --force and run" {
	recorder dead
	firmware
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	fw_ok kill box
	called 1 'dead box 137 killed by SIGKILL'
	fw_ok start box -- /bin/sleep 1000
	fw_ok restart box
	called 2 'dead box 137 killed by SIGKILL'
	fw_ok drop --force box
	eventually 3 'dead box 137 killed by SIGKILL'
	fw_ok run fw --name piped -- /bin/true
	called 1 'dead piped 0 exited with status 0'
	fw_ok run fw --rm --name gone -- /bin/true
	called 1 'dead gone 0 exited with status 0'
	run --separate-stderr fw run fw --rm -t --name tty -- /bin/sh -c 'exit 3' </dev/null
	assert_eq 3 "$status"
	eventually 1 'dead tty 3 exited with status 3'
	assert_eq '["piped"]' "$(fw list --json | jq -c 'map(.name)')"
}

@test "dead: once after a kill -9 of the supervisor, by the next command that changes something" {
	recorder dead
	firmware
	fw_ok prepare fw --name box
	fw_ok prepare fw --name other
	fw_ok start box -- /bin/sleep 1000
	kill -KILL "$(supervisor_of box)"
	wait_until 5 eval '[[ $(fw get box state) == ready ]]'
	assert_eq '' "$(<"$LOG")"
	fw_ok set other a=b
	called 1 'dead box 137 supervisor died'
	fw_ok set box a=b
	fw_ok start box -- /bin/sleep 1000
	fw_ok kill box
	eventually 1 'dead box 137 supervisor died'
	called 1 'dead box 137 killed by SIGKILL'
}

@test "dead: the hooks that a killed command did not get to are called by the next one, no other twice" {
	local pid
	moment_hook site/dead.d/10-first
	moment_hook site/dead.d/20-hangs "touch '$W/here'; exec sleep 1000"
	moment_hook site/dead.d/30-last
	firmware
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	"$FIRMWARED" --root "$FW_ROOT" kill box 3>&- &
	pid=$!
	wait_until 5 test -e "$W/here"
	kill -KILL "$pid"
	wait "$pid" || true
	fw_ok set box a=b
	assert_eq '10-first dead|20-hangs dead|30-last dead' "$(paste -sd '|' "$LOG")"
}

@test "dropped: the hooks that a killed command did not get to are called by the next one, or by gc" {
	local pid mend
	moment_hook site/dropped.d/10-first
	moment_hook site/dropped.d/20-hangs "touch '$W/here'; exec sleep 1000"
	moment_hook site/dropped.d/30-last "echo \"\$FIRMWARED_NAME \$FIRMWARED_FIRMWARE_NAME\" >>'$LOG'"
	firmware
	for mend in 'firmware unmount fw' gc; do
		fw_ok prepare fw --name box
		"$FIRMWARED" --root "$FW_ROOT" drop box 3>&- &
		pid=$!
		wait_until 5 test -e "$W/here"
		kill -KILL "$pid"
		wait "$pid" || true
		assert_eq '[]' "$(fw list --json)"
		# shellcheck disable=SC2086 # words
		fw_ok $mend
		assert_eq '10-first dropped|20-hangs dropped|30-last dropped|box fw' "$(paste -sd '|' "$LOG")"
		assert_eq '' "$(ls -A "$FW_ROOT/run/instances")"
		rm "$W/here" "$LOG"
	done
}

@test "run --rm that was detached from drops itself at the end, after dead" {
	recorder dead dropped
	firmware
	printf '\035' >"$W/keys" # ctrl-]
	fw_ok run fw --rm -t --name box -- /bin/sleep 1000 <"$W/keys"
	assert_has "$stderr" 'goes on'
	assert_eq started "$(fw get box state)"
	kill -KILL "$(fw get box pid)"
	eventually 1 'dropped box'
	assert_eq 'dead box 137 killed by SIGKILL|dropped box' "$(paste -sd '|' "$LOG")"
	assert_eq '[]' "$(fw list --json)"
}

@test "a hook may look at its instance, and no mark is left when the directories are empty" {
	moment_hook site/started.d/look "'$FIRMWARED' --root '$FW_ROOT' get \"\$FIRMWARED_ID\" state >>'$LOG'"
	firmware
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	assert_eq 'look started|started' "$(paste -sd '|' "$LOG")"
	assert_eq '' "$(ls "$FW_ROOT/run/pending")"
	[[ ! -e $FW_ROOT/run/instances/$(fw get box id)/dead.json ]]
}
