#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2030,SC2031,SC2154 # run sets these, and bats makes each test a subshell
# firmwared hook list, show, env and test. The conformance kit itself is proven by test/conformance.bats.

load hooks_helpers

setup() {
	fw_setup
	W=$BATS_TEST_TMPDIR/w
	mkdir -p "$W"
}

teardown() {
	[[ -z ${SEEN:-} ]] || rm -r "$SEEN"
	fw_teardown
}

# site_hooks: a hook directory of the test's own before the shipped ones.
site_hooks() {
	SITE=$BATS_TEST_TMPDIR/site
	mkdir -p "$SITE"
	export FIRMWARED_HOOK_DIRS=$SITE:${FIRMWARED_HOOK_DIRS:-$HOOKS}
}

# conforms ARG...: hook test says of no clause that it fails; sets VERDICTS.
conforms() {
	fw_ok hook test --json "$@"
	VERDICTS=$output
	assert_eq '' "$(jq -r '.[] | select(.result == "FAIL" or .result == "warn") | .clause + ": " + .why' <<<"$VERDICTS")" "$*"
}

# result CLAUSE: from VERDICTS.
result() { jq -r --arg name "$1" '.[] | select(.clause == $name) | .result' <<<"$VERDICTS"; }

@test "list has every hook, also those that cannot be used, with the reason" {
	site_hooks
	printf '#!/bin/sh\nexit 1\n' | user_hook "$SITE/broken.hook"
	printf '#!/bin/sh\n' | user_hook "$SITE/open.hook"
	chmod 777 "$SITE/open.hook"
	ln -s /dev/null "$SITE/aufs.hook"
	fw_ok hook list --json
	assert_eq 'aufs=masked broken=broken disk=ok erofs=ok fetch=ok mount=ok net=ok open=refused squashfs=ok verify=ok verity=ok' \
		"$(jq -r '.[] | .name + "=" + .state' <<<"$output" | paste -sd' ')"
	assert_has "$(jq -r '.[] | select(.name == "open").problem' <<<"$output")" 'writable by others'
	assert_eq 'lower union' "$(jq -r '.[] | select(.name == "mount").layers | join(" ")' <<<"$output")"
	fw_ok hook list
	assert_eq 12 "${#lines[@]}"
	assert_has "$output" '/dev/null'
}

@test "show tells what describe says, what is hidden, and the limits in force" {
	site_hooks
	printf '#!/bin/sh\nprintf "api=1\\nlayers=lower\\nsummary=mine\\noption=a b\\nmagic=4:00ff\\ndaemon=yes\\n"\n' | user_hook "$SITE/disk.hook"
	export FIRMWARED_HOOK_TIMEOUTS='disk.mount=90s'
	fw_ok hook show disk --json
	assert_eq "mine a,b 4:00ff true 90 5" \
		"$(jq -r '"\(.summary) \(.options | join(",")) \(.magic[0]) \(.daemon) \(.timeouts_s.mount) \(.timeouts_s.probe)"' <<<"$output")"
	assert_has "$(jq -r '.hides[0]' <<<"$output")" '/disk.hook'
	fw_ok hook show disk
	assert_has "$output" 'mount 90s'
	fw_fails 1 'tried' hook show nosuch
	fw_fails 2 'usage' hook show
}

@test "env prints what a hook gets: made up, of a firmware, of an instance" {
	fw_ok hook env disk mount
	assert_has "$output" 'FIRMWARED_LAYER=lower'
	assert_has "$output" 'FIRMWARED_OPT_PARTITION='
	refute_has "$output" 'FIRMWARED_REASON'
	fw_ok hook env fetch fetch
	assert_has "$output" 'FIRMWARED_URL=http://host/'
	refute_has "$output" 'FIRMWARED_LAYER'
	fw_ok hook env fetch unpack
	assert_has "$output" 'FIRMWARED_FILE='
	fw_ok hook env verify verify
	assert_has "$output" 'FIRMWARED_KEY='
	fw_ok hook env mount describe
	refute_has "$output" 'FIRMWARED_FIRMWARE'

	new_root "$W/it's a root"
	fw_ok firmware add "$W/it's a root" --name fw
	local id=$output
	fw_ok prepare fw --name box
	fw_ok hook env mount mount fw
	assert_has "$output" "FIRMWARED_FIRMWARE=$W/it's a root"
	assert_has "$output" "FIRMWARED_ID=$id"
	fw_ok hook env mount probe fw --export
	assert_eq "$W/it's a root" "$(eval "$output" && printf '%s' "$FIRMWARED_FIRMWARE")"
	fw_ok hook env mount unmount union box --json
	assert_eq "$(mount_field "$(jq -r .FIRMWARED_UNION <<<"$output")" TARGET)" "$(jq -r .FIRMWARED_UNION <<<"$output")" 'its mount'
	assert_eq "$(fw show box --json | jq -r .id) box" "$(jq -r '"\(.FIRMWARED_ID) \(.FIRMWARED_NAME)"' <<<"$output")"
	assert_eq "$(findmnt -n -M "$(jq -r .FIRMWARED_LOWERDIR <<<"$output" | cut -d: -f1)" -o TARGET)" \
		"$(jq -r .FIRMWARED_LOWERDIR <<<"$output" | cut -d: -f1)" 'its lower'
}

@test "env is what the hook really gets" {
	site_hooks
	user_hook "$SITE/spy.hook" <<-EOF
		#!/bin/sh
		case \$FIRMWARED_ACTION in
		describe) printf 'api=1\nlayers=lower\n'; exit ;;
		probe) exit 3 ;;
		mount) env | grep -v -e ^PWD= -e ^SHLVL= -e ^_= -e ^FIRMWARED_X_ | sort >$W/seen ;;
		esac
		exit 1
	EOF
	mkdir "$W/root"
	fw_ok firmware add "$W/root" --name fw --hook spy
	run --separate-stderr fw prepare fw
	assert_eq 1 "$status"
	fw_ok hook env spy mount fw
	assert_eq "$(<"$W/seen")" "$(grep -v ^FIRMWARED_X_ <<<"$output" | sort)"
}

@test "env refuses what no hook is asked" {
	fw_fails 1 'there is no action' hook env mount frobnicate
	fw_fails 1 'has no layer fetch' hook env mount fetch
	fw_fails 1 'verify is not about a firmware' hook env verify verify fw
	fw_fails 1 'has no layer union' hook env squashfs mount union
	fw_fails 1 'has no layer that remount' hook env squashfs remount
	fw_fails 1 'no remount of layer "lower"' hook env mount remount lower
	fw_fails 1 'say which' hook env mount mount
	fw_fails 1 'nosuch' hook env mount mount lower nosuch
	fw_fails 1 'cannot find hook' hook env nosuch mount
	fw_fails 2 'usage' hook env mount
}

@test "test: lines, TAP and JSON say the same; every clause is documented" {
	conforms --clause unmount-busy
	assert_eq ok "$(result unmount-busy)"
	run --separate-stderr fw hook test --clause unmount-busy
	assert_eq 'ok    unmount-busy           unmount of what is in use: 5, and nothing is lost' "$output"
	fw_ok hook test --clause unmount-busy --tap
	assert_eq $'TAP version 13\n1..1\nok 1 - unmount-busy' "$output"
	run --separate-stderr fw hook test --clause nosuch
	assert_eq "$(sed -n '/^| clause /,$ s/^| `\([a-z-]*\)` | .* |$/\1/p' "$HOOKS/CONTRACT.md" | paste -sd' ')" "${stderr##*clauses are }"
}

@test "test: a clause that fails is status 1, named, with the hook's own words" {
	# shellcheck disable=SC2016 # the hook's
	sed 's/^missing=$/&; [ "$FIRMWARED_ACTION" != unmount ] || { echo not today >\&2; exit 7; }/' \
		"$REPO/core/conformance/reference.hook" | user_hook "$W/bad.hook"
	run --separate-stderr fw hook test "$W/bad.hook" --clause unmount-repeats
	assert_eq 1 "$status"
	assert_has "$output" 'FAIL  unmount-repeats'
	assert_has "$output" 'exit status 7 (not today)'
	assert_has "$stderr" 'failed: unmount-repeats'
	run --separate-stderr fw hook test "$W/bad.hook" --clause unmount-repeats --tap
	assert_eq 1 "$status"
	assert_has "$output" 'not ok 1 - unmount-repeats'
}

@test "test: wrong usage, and a hook that root must not run" {
	fw_fails 2 'there is no clause' hook test --clause nosuch
	fw_fails 2 'usage' hook test one two three
	fw_fails 2 'usage' hook test --tap --json
	fw_fails 2 'K=V' hook test --option novalue
	fw_fails 1 'cannot find hook' hook test nosuch
	fw_fails 1 'no such file' hook test ./nosuch.hook
	fw_fails 1 'no such file' hook test mount "$W/nosuch"
	fw_fails 2 'give a SAMPLE' hook test squashfs
	printf '#!/bin/sh\n' | user_hook "$W/mine.hook"
	chown 1000 "$W/mine.hook"
	fw_fails 1 'sudo install' hook test "$W/mine.hook"
}

# interrupted SIGNAL: while a mount hangs.
interrupted() {
	rm -f "$SEEN/hangs"
	"$FIRMWARED" --root "$FW_ROOT" hook test "$W/hang.hook" "$W/image" --clause mount-again >"$W/out" 2>&1 3>&- &
	local pid=$!
	wait_until 20 test -s "$SEEN/hangs"
	kill "-$1" "$pid"
	wait "$pid" || true
	wait_until 10 nothing_of_it
}

nothing_of_it() {
	[[ ! -e /proc/$(<"$SEEN/hangs") ]] && no_loops "$(sed -n 's/.* file=\(.*\)\/firmware.*/\1/p' "$SEEN/where")" &&
		[[ ! -e $(<"$SEEN/group") ]]
}

@test "test: Ctrl-C, TERM and even KILL leave nothing behind" {
	SEEN=$(mktemp -d /dev/shm/hookcmd.XXXXXX) # what the hook writes in /tmp does not get here
	user_hook "$W/hang.hook" <<-EOF
		#!/bin/sh
		case \$FIRMWARED_ACTION in
		describe) printf 'api=1\nlayers=lower\n' ;;
		mount)
			losetup -f "\$FIRMWARED_FIRMWARE" || exit 1
			echo " file=\$FIRMWARED_FIRMWARE" >$SEEN/where
			sed 's,.*::,/sys/fs/cgroup,; s,/hooks/.*,,' /proc/self/cgroup >$SEEN/group
			echo \$\$ >$SEEN/hangs
			sleep 1000 ;;
		esac
	EOF
	truncate -s 1M "$W/image"
	interrupted INT
	assert_has "$(<"$W/out")" interrupted
	interrupted TERM
	interrupted KILL
}
