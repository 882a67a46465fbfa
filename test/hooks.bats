#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2030,SC2031,SC2154 # run sets these, and bats makes each test a subshell
# What the contract asks of every hook, tried on all that are shipped.

load hooks_helpers

setup() { hk_setup; }
teardown() { hk_teardown; }

# layers HOOK: sets LAYERS from its describe.
layers() {
	hk_is 0 "$1" describe -
	read -ra LAYERS < <(sed -n 's/^layers=//p' <<<"$output")
	(( ${#LAYERS[@]} > 0 )) || fail "$1 has no layers"
}

@test "the hooks tested are the hooks shipped" {
	local found=("$HOOKS"/*.hook)
	found=("${found[@]##*/}")
	assert_eq "$(printf '%s.hook\n' "${ALL_HOOKS[@]}" net fetch verify | sort)" "$(printf '%s\n' "${found[@]}" | sort)"
}

@test "describe: api first, known keys, nothing on stderr" {
	local hook line key
	for hook in "${ALL_HOOKS[@]}" net fetch verify; do
		hk_is 0 "$hook" describe -
		assert_eq 'api=1' "${lines[0]}" "$hook"
		assert_eq '' "$stderr" "$hook"
		for line in "${lines[@]:1}"; do
			key=${line%%=*}
			[[ $line == *=?* ]] || fail "$hook: $line"
			[[ ' layers summary formats requires option magic remount daemon pack unmount directory schemes ' == *" $key "* ]] || fail "$hook: unknown key $key"
			[[ $key != magic || $line =~ ^magic=[0-9]+:([0-9a-f]{2})+$ ]] || fail "$hook: $line"
		done
		grep -q '^summary=.' <<<"$output" || fail "$hook: no summary"
		! grep '^requires=' <<<"$output" | grep -qvE '^requires=((tool|fs|dm|dev):[A-Za-z0-9._-]+ ?)+$' || fail "$hook: requires"
	done
}

@test "describe needs nothing but the action, and says remount of unions" {
	local hook
	for hook in "${ALL_HOOKS[@]}"; do
		hk_is 0 "$hook" describe - -FIRMWARED_VERBOSE -FIRMWARED_TIMEOUT -FIRMWARED_X_4711 -PATH PATH=/usr/bin:/bin
		layers "$hook"
		if [[ " ${LAYERS[*]} " == *' union '* ]]; then
			grep -qE '^remount=(live|none)$' <<<"$output" || fail "$hook: no remount"
		else
			refute_has "$output" 'remount='
		fi
	done
}

@test "an unknown action or a foreign layer: 3" {
	local hook layer
	for hook in "${ALL_HOOKS[@]}"; do
		hk_is 3 "$hook" frobnicate -
		hk_is 3 "$hook" frobnicate lower
		hk_is 3 "$hook" remount lower
		layers "$hook"
		for layer in lower union; do
			[[ " ${LAYERS[*]} " == *" $layer "* ]] || hk_is 3 "$hook" mount "$layer"
			[[ " ${LAYERS[*]} " == *" $layer "* ]] || hk_is 3 "$hook" unmount "$layer"
		done
	done
}

@test "another version of the contract: 2" {
	local hook action
	for hook in "${ALL_HOOKS[@]}"; do
		for action in describe probe; do
			hk_is 2 "$hook" "$action" - FIRMWARED_API=2
			named FIRMWARED_API
			hk_is 2 "$hook" "$action" - -FIRMWARED_API
			named FIRMWARED_API
		done
	done
}

# needed HOOK ACTION LAYER: sets NAMES to what this call needs, beside API and ACTION.
needed() {
	case $2/$3 in
	probe/*) NAMES=(FIRMWARED_FIRMWARE) ;;
	mount/lower) NAMES=(FIRMWARED_FIRMWARE FIRMWARED_RO) ;;
	mount/union) NAMES=(FIRMWARED_LOWERDIR FIRMWARED_RW FIRMWARED_WORKDIR FIRMWARED_UNION FIRMWARED_LABEL) ;;
	unmount/lower) NAMES=(FIRMWARED_RO) ;;
	unmount/union | remount/union) NAMES=(FIRMWARED_UNION) ;;
	*) NAMES=() ;;
	esac
	[[ $1/$2 != aufs/mount ]] || NAMES+=(FIRMWARED_CONFINEMENT)
	[[ $1 == mount ]] && return
	NAMES+=(FIRMWARED_LIB) # lib.bash's hooks, and what it adds
	[[ $2 != mount && $2 != unmount ]] || NAMES+=(FIRMWARED_STATE)
	[[ $2 != mount || $3 != lower ]] || NAMES+=(FIRMWARED_LABEL)
}

# refuses HOOK ACTION LAYER: 2 for each variable that is missing or empty, and for all of them at once.
refuses() {
	local hook=$1 name without=() empty=()
	needed "$@"
	for name in FIRMWARED_API "${NAMES[@]}"; do
		hk_is 2 "$@" "-$name" && named "$name" || return
		hk_is 2 "$@" "$name=" && named "$name" || return
		without+=("-$name") empty+=("$name=")
	done
	hk_is 2 "$@" "${without[@]}" && named FIRMWARED_API "${NAMES[@]}" || return
	hk_is 2 "$@" "${empty[@]}" && named FIRMWARED_API "${NAMES[@]}" || return
}

@test "missing or empty variables: 2, all named at once" {
	local hook layer
	for hook in "${ALL_HOOKS[@]}"; do
		hk_is 2 "$hook" '' - -FIRMWARED_API
		named FIRMWARED_ACTION FIRMWARED_API
		hk_is 2 "$hook" mount -
		named FIRMWARED_LAYER
		refuses "$hook" describe -
		layers "$hook"
		[[ ${LAYERS[0]} != lower ]] || refuses "$hook" probe -
		for layer in "${LAYERS[@]}"; do
			refuses "$hook" mount "$layer"
			refuses "$hook" unmount "$layer"
		done
	done
	refuses mount remount union
	assert_free "$W/ro"
	assert_free "$W/union"
}

@test "missing variables come before everything else that is wrong" {
	hk_is 2 aufs mount union FIRMWARED_CONFINEMENT=apparmor -FIRMWARED_RW -FIRMWARED_UNION
	named FIRMWARED_RW FIRMWARED_UNION
	hk_is 2 disk mount lower -FIRMWARED_RO PATH=/nowhere # bash is not found by PATH, but nothing else is
	named FIRMWARED_RO
	local hook
	for hook in "${ALL_HOOKS[@]}"; do
		hk_is 2 "$hook" frobnicate - -FIRMWARED_API
		hk_is 2 "$hook" frobnicate - FIRMWARED_API=2
	done
}

@test "an environment with nothing in it: 2" {
	local hook
	for hook in "${ALL_HOOKS[@]}"; do
		run --separate-stderr env -i "$HOOKS/$hook.hook"
		assert_eq 2 "$status" "$hook: $stderr"
		assert_eq '' "$output"
		named FIRMWARED_ACTION
	done
}

@test "unmount of what was never mounted, of what is gone, of no mount point: 0" {
	local hook layer
	for hook in "${ALL_HOOKS[@]}"; do
		layers "$hook"
		for layer in "${LAYERS[@]}"; do
			hk_is 0 "$hook" unmount "$layer"
			hk_is 0 "$hook" unmount "$layer" FIRMWARED_REASON=failed-mount
			hk_is 0 "$hook" unmount "$layer" "FIRMWARED_RO=$W/gone" "FIRMWARED_UNION=$W/gone" "FIRMWARED_STATE=$W/gone"
			[[ ! -e $W/gone ]] || fail "$hook made a directory"
		done
	done
}

@test "nothing is deleted and nothing made by an unmount" {
	local hook layer before
	touch "$W"/{ro,rw,work,union,state}/kept
	before=$(find "$W" | sort)
	for hook in "${ALL_HOOKS[@]}"; do
		layers "$hook"
		for layer in "${LAYERS[@]}"; do
			hk_is 0 "$hook" unmount "$layer"
		done
	done
	assert_eq "$before" "$(find "$W" | sort)"
}

@test "probe: not a file, not there, empty, or rubbish: 3 and nothing changed" {
	local hook
	: >"$W/empty"
	head -c 100000 /dev/urandom >"$W/rubbish"
	mkfifo "$W/fifo"
	for hook in "${ALL_HOOKS[@]}"; do
		for it in gone empty rubbish fifo; do
			hk_is 3 "$hook" probe - "FIRMWARED_FIRMWARE=$W/$it"
		done
	done
}

@test "a firmware that is not what it should be: mount fails with a reason and leaves nothing" {
	local hook
	head -c 3000000 /dev/urandom >"$W/source"
	for hook in disk erofs mount squashfs; do
		hk_is 1 "$hook" mount lower
		[[ -n $stderr ]] || fail "$hook: no reason"
		assert_free "$W/ro"
		wait_until 2 no_loops "$W/source"
		hk_is 1 "$hook" mount lower "FIRMWARED_FIRMWARE=$W/gone"
		hk_is 0 "$hook" unmount lower
	done
}

@test "CONTRACT.md: the table has each variable that a hook could get" {
	local name
	hk_vars unmount lower
	for name in "${!vars[@]}"; do
		[[ $name != FIRMWARED_* || $name == FIRMWARED_X_* ]] || grep -q "^| \`$name\` | " "$HOOKS/CONTRACT.md" || fail "$name"
	done
	hk_vars mount union
	for name in "${!vars[@]}"; do
		[[ $name != FIRMWARED_* || $name == FIRMWARED_X_* ]] || grep -q "^| \`$name\` | " "$HOOKS/CONTRACT.md" || fail "$name"
	done
}

# example N: the Nth script of CONTRACT.md becomes $W/example.hook.
example() {
	awk -v n="$1" '/^```(sh|bash)$/ { i++; on = i == n; next } /^```/ { on = 0 } on' "$HOOKS/CONTRACT.md" | user_hook "$W/example.hook"
	[[ -s $W/example.hook ]] || fail "CONTRACT.md has no example $1"
	(( $(wc -l <"$W/example.hook") <= 15 )) || fail 'more than 15 lines'
}

# drive_example: it keeps the contract; the firmware is $W/source.
drive_example() {
	local hook=$W/example.hook
	hk_is 0 "$hook" describe -
	assert_eq 'api=1' "${lines[0]}"
	hk_is 3 "$hook" frobnicate -
	hk_is 3 "$hook" mount union
	hk_is 2 "$hook" mount lower -FIRMWARED_RO -FIRMWARED_FIRMWARE
	named FIRMWARED_RO FIRMWARED_FIRMWARE
	hk_is 2 "$hook" describe - FIRMWARED_API=2
	hk_is 0 "$hook" unmount lower
	hk_is 0 "$hook" mount lower
	refused touch "$W/ro/new"
	[[ -n $(ls -A "$W/ro") ]] || fail 'nothing there'
	(cd "$W/ro" && hk_is 5 "$hook" unmount lower)
	is_mounted "$W/ro" || fail 'busy, but gone'
	hk_is 0 "$hook" unmount lower
	hk_is 0 "$hook" unmount lower
	assert_free "$W/ro"
}

@test "CONTRACT.md: the bind example works" {
	hk_source
	example 1
	hk_is 3 "$W/example.hook" probe -
	touch "$W/source/.bind-me"
	hk_is 0 "$W/example.hook" probe -
	drive_example
}

@test "CONTRACT.md: the squashfs example works" {
	image squashfs "$W/source"
	example 2
	hk_is 0 "$W/example.hook" probe -
	drive_example
}

@test "CONTRACT.md: the hello example works" {
	touch "$W/source"
	example 3
	hk_is 3 "$W/example.hook" probe -
	drive_example
}
