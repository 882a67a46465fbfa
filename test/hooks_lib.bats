#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2030,SC2031,SC2154 # run sets these, and bats makes each test a subshell
# lib.bash: what a hook gets from it, by hooks made for it.

load hooks_helpers

setup() { hk_setup; }
teardown() { hk_teardown; }

# with_lib: the hook $W/own.hook, whose middle is on standard input.
with_lib() {
	{
		# shellcheck disable=SC2016 # the hook expands it
		printf '#!/bin/bash\n. "${FIRMWARED_LIB:-no FIRMWARED_LIB}/lib.bash" || exit 2\nHOOK_SUMMARY="a test"\n'
		cat
		printf 'firmwared_hook\n'
	} | user_hook "$W/own.hook"
}

own() { hk "$W/own.hook" "$@"; }
own_is() {
	local want=$1
	shift
	hk_is "$want" "$W/own.hook" "$@"
}

# --- describe -------------------------------------------------------------------

@test "describe: the least, and everything" {
	with_lib <<<'lower_mount() { :; }'
	own_is 0 describe -
	assert_eq $'api=1\nlayers=lower\nsummary=a test\nunmount=plain' "$output"
	with_lib <<-'EOF'
		HOOK_DIRECTORY=none
		lower_mount() { :; }
		lower_unmount() { :; }
	EOF
	own_is 0 describe -
	assert_eq $'api=1\nlayers=lower\nsummary=a test\ndirectory=none' "$output"
	with_lib <<-'EOF'
		HOOK_FORMATS='x y' HOOK_REQUIRES='tool:sh fs:proc' HOOK_OPTIONS='one two' HOOK_MAGIC='0:00ff 8:aa' HOOK_DAEMON=yes
		lower_mount() { :; }
		union_mount() { :; }
		union_remount() { :; }
	EOF
	own_is 0 describe -
	assert_eq "$(printf '%s\n' api=1 'layers=lower union' 'summary=a test' 'formats=x y' 'requires=tool:sh fs:proc' \
		'option=one two' magic=0:00ff magic=8:aa remount=live daemon=yes)" "$output"
}

@test "a hook without FIRMWARED_LIB says so" {
	with_lib <<<'lower_mount() { :; }'
	own_is 2 describe - -FIRMWARED_LIB
	named FIRMWARED_LIB
}

# --- probe ----------------------------------------------------------------------

@test "probe: by magic, at any of several places" {
	with_lib <<-'EOF'
		HOOK_MAGIC='3:6d6e 0:00ff'
		lower_mount() { :; }
	EOF
	printf 'abcmn' >"$W/source"
	own_is 0 probe -
	printf '\0\377' >"$W/source"
	own_is 0 probe -
	printf 'abcm' >"$W/source"
	own_is 3 probe -
	: >"$W/source"
	own_is 3 probe -
}

@test "probe: by function; whatever it fails with is 3, but fatal means it" {
	with_lib <<-'EOF'
		probe() { case $(<"$FIRMWARED_FIRMWARE") in yes) echo noise ;; no) return 7 ;; *) fatal -4 'no such tool' ;; esac; }
		lower_mount() { :; }
	EOF
	printf yes >"$W/source"
	own_is 0 probe -
	printf no >"$W/source"
	own_is 3 probe -
	printf other >"$W/source"
	own_is 4 probe -
	named 'no such tool'
}

@test "probe: a hook for unions alone, or with neither magic nor function: 3" {
	with_lib <<<'union_mount() { :; }'
	own_is 3 probe -
	with_lib <<<'lower_mount() { :; }'
	own_is 3 probe -
}

# --- requirements ---------------------------------------------------------------

@test "requirements: 4 before anything is mounted, all that are missing in one line" {
	with_lib <<-'EOF'
		HOOK_REQUIRES='tool:sh tool:no-such-tool fs:nosuchfs dev:no-such dm:nosuch new-kind:x fs:ext4'
		lower_mount() { touch "$FIRMWARED_STATE/mounted"; }
	EOF
	own_is 4 mount lower
	named 'tool:no-such-tool fs:nosuchfs dev:no-such dm:nosuch'
	refute_has "$stderr" tool:sh
	refute_has "$stderr" new-kind
	refute_has "$stderr" ext4
	[[ ! -e $W/state/mounted ]] || fail 'it was mounted'
	own_is 0 unmount lower
	own_is 0 describe -
}

@test "need_var, need_tool, need_fs in the hook's own functions" {
	with_lib <<-'EOF'
		lower_mount() {
			case ${FIRMWARED_OPT_WHAT:-} in
			tool) need_tool no-such-tool ;;
			fs) need_fs nosuchfs ;;
			*) need_var FIRMWARED_OPT_WHAT FIRMWARED_OPT_OTHER ;;
			esac
		}
	EOF
	own_is 2 mount lower
	named FIRMWARED_OPT_WHAT FIRMWARED_OPT_OTHER
	own_is 4 mount lower FIRMWARED_OPT_WHAT=tool
	named tool:no-such-tool
	own_is 4 mount lower FIRMWARED_OPT_WHAT=fs
	named fs:nosuchfs
}

# --- messages -------------------------------------------------------------------

@test "info only when verbose; nothing of a mount on stdout" {
	with_lib <<-'EOF'
		lower_mount() { info 'quiet word'; warn 'loud word'; echo noise; }
	EOF
	own_is 0 mount lower FIRMWARED_VERBOSE=n
	refute_has "$stderr" 'quiet word'
	named 'warning: loud word'
	own_is 0 mount lower FIRMWARED_VERBOSE=y
	named 'quiet word' noise
}

# --- mounts that fail half-way --------------------------------------------------

@test "a command that fails ends the mount with 1, whatever its own status, and undoes what was done" {
	local it
	for it in 1 2 3 4 5 32 77; do
		with_lib <<-EOF
			lower_mount() {
				mount -t tmpfs half "\$FIRMWARED_RO"
				loop_attach "\$FIRMWARED_FIRMWARE"
				bash -c 'exit $it'
				touch "\$FIRMWARED_STATE/went-on"
			}
		EOF
		image ext2 "$W/source"
		own_is 1 mount lower
		[[ ! -e $W/state/went-on ]] || fail 'it went on'
		assert_free "$W/ro"
		wait_until 2 no_loops "$W/source"
		assert_eq '' "$(ls -A "$W/state")" 'the state'
		rm "$W/source"
	done
}

@test "a status of the hook's own survives the undoing" {
	local it
	for it in 1 2 3 4 5; do
		with_lib <<-EOF
			lower_mount() {
				mount -t tmpfs half "\$FIRMWARED_RO"
				exit $it
			}
		EOF
		own_is "$it" mount lower
		assert_free "$W/ro"
	done
	with_lib <<<'lower_mount() { exit 99; }'
	own_is 1 mount lower
}

@test "a union's mount is undone, too, by its own function if it has one" {
	with_lib <<-'EOF'
		union_mount() { mount -t tmpfs half "$FIRMWARED_UNION"; false; }
	EOF
	own_is 1 mount union
	assert_free "$W/union"
	with_lib <<-'EOF'
		union_mount() { mount -t tmpfs half "$FIRMWARED_UNION"; false; }
		union_unmount() { touch "$FIRMWARED_STATE/own"; unmount_at "$FIRMWARED_UNION"; }
	EOF
	own_is 1 mount union
	assert_free "$W/union"
	[[ -e $W/state/own ]] || fail 'its function was not called'
}

# in_background ACTION LAYER: starts own.hook; its pid is HOOK_PID.
in_background() {
	local it list=()
	hk_vars "$1" "$2"
	for it in "${!vars[@]}"; do
		list+=("$it=${vars[$it]}")
	done
	env -i "${list[@]}" "$W/own.hook" </dev/null >"$W/out" 2>&1 3>&- &
	HOOK_PID=$!
}

# slow_hook: mounts, attaches, says so by a file and then waits.
slow_hook() {
	image ext2 "$W/source"
	with_lib <<-'EOF'
		lower_mount() {
			mount -t tmpfs half "$FIRMWARED_RO"
			loop_attach "$FIRMWARED_FIRMWARE"
			touch "$FIRMWARED_STATE/waiting"
			read -r -t 60 <>"${FIRMWARED_STATE%/state}/fifo"
		}
	EOF
	mkfifo "$W/fifo"
	in_background mount lower
	wait_until 10 test -e "$W/state/waiting"
	assert_eq 1 "$(loops "$W/source")"
}

@test "TERM in the middle of a mount: nothing is left" {
	slow_hook
	kill -TERM "$HOOK_PID"
	wait "$HOOK_PID" && fail 'it succeeded'
	assert_free "$W/ro"
	wait_until 2 no_loops "$W/source"
}

@test "KILL in the middle of a mount: the unmount finds what is left" {
	slow_hook
	kill -KILL "$HOOK_PID"
	wait "$HOOK_PID" && fail 'it succeeded'
	is_mounted "$W/ro" || fail 'the test is wrong'
	own_is 0 unmount lower FIRMWARED_REASON=failed-mount
	assert_free "$W/ro"
	wait_until 2 no_loops "$W/source"
	own_is 0 unmount lower
}

# --- unmounts -------------------------------------------------------------------

@test "an unmount goes on past a failing step, and then says so" {
	with_lib <<-'EOF'
		lower_mount() { mount -t tmpfs x "$FIRMWARED_RO"; }
		lower_unmount() {
			bash -c 'exit 4'
			unmount_at "$FIRMWARED_RO"
			touch "$FIRMWARED_STATE/last"
		}
	EOF
	own_is 0 mount lower
	own_is 1 unmount lower
	assert_free "$W/ro"
	[[ -e $W/state/last ]] || fail 'it stopped'
}

@test "busy wins over another failure: 5" {
	with_lib <<-'EOF'
		lower_mount() { mount -t tmpfs x "$FIRMWARED_RO"; }
		lower_unmount() {
			unmount_at "$FIRMWARED_RO"
			false
		}
	EOF
	own_is 0 mount lower
	(cd "$W/ro" && own_is 5 unmount lower)
	own_is 1 unmount lower
	assert_free "$W/ro"
}

@test "a busy mount keeps its loop device and the record of it" {
	image ext2 "$W/source"
	with_lib <<-'EOF'
		lower_mount() { loop_attach "$FIRMWARED_FIRMWARE"; mount -t ext4 -o ro "$LOOP" "$FIRMWARED_RO"; }
	EOF
	own_is 0 mount lower
	(cd "$W/ro" && own_is 5 unmount lower)
	assert_eq 1 "$(loops "$W/source")"
	assert_eq pristine "$(<"$W/ro/etc/firmware")"
	own_is 0 unmount lower
	assert_free "$W/ro"
	wait_until 2 no_loops "$W/source"
}

@test "a dead FUSE daemon's mount is unmounted, and is busy when it is" {
	image squashfs "$W/source"
	with_lib <<-'EOF'
		HOOK_DAEMON=yes
		lower_mount() { squashfuse "$FIRMWARED_FIRMWARE" "$FIRMWARED_RO"; }
	EOF
	own_is 0 mount lower
	exec {held}<"$W/ro/etc/firmware"
	kill -KILL "$(pgrep -f "squashfuse $W/source")"
	wait_until 5 dead "$W/ro"
	own_is 5 unmount lower
	exec {held}<&-
	own_is 0 unmount lower
	assert_free "$W/ro"
}
dead() { [[ $(stat "$1" 2>&1) == *'not connected'* ]]; }

# --- loop devices ---------------------------------------------------------------

loop_hook() {
	with_lib <<-'EOF'
		lower_mount() { loop_attach "$FIRMWARED_FIRMWARE" ${FIRMWARED_OPT_WHERE:-}; }
	EOF
}

# device: the one that loop_attach has on record.
device() {
	local record=("$W"/state/loop*)
	[[ -e ${record[0]} ]] || fail 'no record'
	printf '/dev/%s\n' "${record[0]##*/}"
}

@test "loop_attach: read-only, on record, with losetup's options" {
	image ext2 "$W/source"
	loop_hook
	own_is 0 mount lower 'FIRMWARED_OPT_WHERE=--offset 4096 --sizelimit 8192'
	assert_eq "1 4096 8192" "$(losetup -n -O RO,OFFSET,SIZELIMIT "$(device)" | tr -s ' ' | sed 's/^ //')"
	own_is 0 unmount lower
	wait_until 2 no_loops "$W/source"
	assert_eq '' "$(ls -A "$W/state")"
}

@test "loop_attach: what cannot be attached is said, and nothing is on record" {
	loop_hook
	own_is 1 mount lower "FIRMWARED_FIRMWARE=$W/gone"
	named "$W/gone"
	assert_eq '' "$(ls -A "$W/state")"
}

@test "loop devices: names that other programs take for their own" {
	local name
	mkdir "$W/in"
	image ext2 "$W/one"
	loop_hook
	for name in "${ODD_NAMES[@]}"; do
		ln "$W/one" "$W/in/$name"
		own_is 0 mount lower "FIRMWARED_FIRMWARE=$W/in/$name"
		[[ -e /sys/block/$(basename "$(device)")/loop/backing_file ]] || fail 'not attached'
		own_is 0 unmount lower "FIRMWARED_FIRMWARE=$W/in/$name"
		rm "$W/in/$name"
	done
	wait_until 2 no_loops "$W"
}

@test "loop devices: the file renamed, replaced or removed meanwhile: still ours" {
	local how
	loop_hook
	for how in 'mv source renamed' 'mv other source' 'rm source'; do
		image ext2 "$W/source"
		cp "$W/source" "$W/other"
		own_is 0 mount lower
		(cd "$W" && $how)
		own_is 0 unmount lower
		wait_until 2 no_loops "$W"
		rm -f "$W"/{source,other,renamed}
	done
}

@test "loop devices: one that stands on another file by now is left alone" {
	local device
	image ext2 "$W/source"
	cp "$W/source" "$W/foreign"
	loop_hook
	own_is 0 mount lower
	device=$(device)
	losetup -d "$device"
	wait_until 2 no_loops "$W/source"
	losetup -r "$device" "$W/foreign"
	own_is 0 unmount lower
	assert_eq 1 "$(loops "$W/foreign")" 'the foreign device'
	assert_eq '' "$(ls -A "$W/state")" 'the record'
	losetup -d "$device"
	wait_until 2 no_loops "$W"
}

@test "loop devices: killed between the record and the device" {
	image ext2 "$W/source"
	loop_hook
	printf '%s\0' "$(losetup -f)" "$W/source" >"$W/state/loop$(losetup -f | tr -dc 0-9)"
	own_is 0 unmount lower
	assert_eq '' "$(ls -A "$W/state")"
	: >"$W/state/loop0"
	own_is 0 unmount lower
	assert_eq '' "$(ls -A "$W/state")"
}

@test "loop devices: eight hooks at once, each gets its own" {
	local i pids=()
	loop_hook
	for (( i = 0; i < 8; i++ )); do
		mkdir "$W/state$i"
		image ext2 "$W/image$i" 2>/dev/null
	done
	for (( i = 0; i < 8; i++ )); do
		hk_vars mount lower
		env -i "PATH=$HOOK_PATH" FIRMWARED_API=1 FIRMWARED_ACTION=mount FIRMWARED_LAYER=lower "FIRMWARED_LIB=$HOOKS" FIRMWARED_LABEL=x \
			"FIRMWARED_STATE=$W/state$i" "FIRMWARED_RO=$W/ro" "FIRMWARED_FIRMWARE=$W/image$i" "$W/own.hook" 3>&- &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i" || fail 'a mount failed'
	done
	for (( i = 0; i < 8; i++ )); do
		assert_eq 1 "$(loops "$W/image$i")" "image$i"
		own_is 0 unmount lower "FIRMWARED_STATE=$W/state$i" "FIRMWARED_FIRMWARE=$W/image$i"
	done
	wait_until 2 no_loops "$W"
}

# --- size -----------------------------------------------------------------------

@test "a new format is a few lines" {
	(( $(sed '/^pack()/,/^}/d' "$HOOKS/squashfs.hook" | grep -cvE '^(#|$)') <= 15 )) || fail 'squashfs.hook has grown'
}
