#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Proves the conformance kit, `firmwared hook test`: every clause has hooks in conformance/broken that break it and are
# caught by its name, the right ones in conformance/good pass, and no run leaves anything on the machine.
#
# conformance/broken/CLAUSE.hook breaks CLAUSE, CLAUSE-2.hook in another way. A line "# sample: KIND" in a hook says
# what it is tested with: image (ext2), squashfs, tar or directory; without it the kit makes a directory.

load hooks_helpers

BROKEN=$REPO/test/conformance/broken
GOOD=$REPO/test/conformance/good
SHOULD=' requires-words mount-nodev mount-setuid ' # clauses that warn

setup() {
	fw_setup
	OUT=$BATS_TEST_TMPDIR/out
	mkdir "$OUT"
	export FIRMWARED_HOOK_TIMEOUTS='time-limits.probe=1s' # the one that never answers
}

teardown() {
	local status=0
	kit_gone || status=1
	fw_teardown && return "$status"
}

# kit_left: what kits have on the machine at this moment: cgroups, loop devices, mounts and processes.
kit_left() {
	local file
	find /sys/fs/cgroup/firmwared /sys/fs/cgroup/unified/firmwared -maxdepth 1 -name 'hook-test.*'
	grep -l /hook-test. /sys/block/loop*/loop/backing_file
	grep -o ' /[^ ]*/hook-test[^ ]*' /proc/self/mountinfo
	grep -lz '^FIRMWARED_STATE=/run/firmwared/hook-test' /proc/[0-9]*/environ
	true
} 2>/dev/null

# kit_gone: nothing of it stays. Another kit may be at work on this machine: what that has goes with it.
kit_gone() {
	local left
	left=$(kit_left)
	[[ -z $left ]] || wait_until 60 none_of "$left" || fail "left by a kit:"$'\n'"$left"
}

none_of() {
	local now
	now=$(kit_left)
	[[ -z $(comm -12 <(sort <<<"$1") <(sort <<<"$now")) ]]
}

# hooks DIR [NAME...]: the names of all hooks in it, or these.
hooks() {
	local dir=$1
	shift
	(($#)) || set -- "$dir"/*.hook
	set -- "${@##*/}"
	printf '%s\n' "${@%.hook}"
}

# clause NAME: the clause that a broken hook breaks.
clause() {
	[[ $1 =~ ^(.*[a-z])(-[0-9]+)?$ ]] && printf '%s\n' "${BASH_REMATCH[1]}"
}

# sample FILE: prints the path of what a hook is tested with, or nothing.
sample() {
	case $(sed -n 's/^# sample: //p' "$1") in
	'') ;;
	image) sample_image ext2 ;;
	squashfs) sample_image squashfs ;;
	directory) tree_dir ;;
	tar) make_once "$FIXTURES/conformance.tar" sample_tar && printf '%s\n' "$FIXTURES/conformance.tar" ;;
	*) fail "$1: no such kind of sample" ;;
	esac
}

sample_image() {
	make_once "$FIXTURES/conformance.$1" image "$1" && printf '%s\n' "$FIXTURES/conformance.$1"
}

sample_tar() { tar -C "$(tree_dir)" -cf "$1" .; }

# test_hook FILE OPTION...: runs the kit; its verdicts go to $OUT/NAME.json, its status to $OUT/NAME.status.
test_hook() {
	local file=$1 with name=${1##*/} status=0
	name=${name%.hook}
	shift
	with=$(sample "$file") || return
	fw hook test --json "$@" "$file" ${with:+"$with"} >"$OUT/$name.json" 2>"$OUT/$name.err" || status=$?
	printf '%s\n' "$status" >"$OUT/$name.status"
}

# test_hooks DIR [--whole] [NAME...]: several at once, as they mostly wait. Broken ones are tested for their own clause
# only, if not --whole.
test_hooks() {
	local dir=$1 whole=yes name list
	shift
	[[ $dir == "$GOOD" || ${1:-} == --whole ]] || whole=
	[[ ${1:-} != --whole ]] || shift
	mapfile -t list < <(hooks "$dir" "$@")
	for name in "${list[@]}"; do
		sample "$dir/$name.hook" >/dev/null || return # not by two at once
	done
	for name in "${list[@]}"; do
		while (( $(jobs -rp | wc -l) >= 4 )); do wait -n || true; done
		if [[ -n $whole ]]; then
			test_hook "$dir/$name.hook" 3>&- &
		else
			test_hook "$dir/$name.hook" --clause "$(clause "$name")" 3>&- &
		fi
	done
	while [[ -n $(jobs -rp) ]]; do wait -n || true; done
	for name in "${list[@]}"; do
		[[ -s $OUT/$name.status ]] || fail "$name: the kit could not be run: $(<"$OUT/$name.err")" || return
	done
}

# verdicts NAME RESULT: the clauses of one hook with that result.
verdicts() { jq -r --arg result "$2" '[.[] | select(.result == $result) | .clause] | join(" ")' "$OUT/$1.json"; }

# told NAME: all that there is to know about a hook's test.
told() {
	printf '%s: status %s\n' "$1" "$(<"$OUT/$1.status")"
	jq -r '.[] | select(.result != "ok") | "\t\(.result) \(.clause): \(.why)"' "$OUT/$1.json"
	sed 's/^/\t/' "$OUT/$1.err"
}

@test "the kit passes its own hook, and every clause has a broken one" {
	local names name
	fw_ok hook test --tap
	mapfile -t names < <(sed -nE 's/^(not )?ok [0-9]+ - ([a-z-]+).*/\2/p' <<<"$output")
	assert_eq "1..${#names[@]}" "$(grep -E '^1\.\.' <<<"$output")"
	assert_eq '' "$(grep '^not ok' <<<"$output")"
	(( ${#names[@]} >= 34 )) || fail "only ${#names[@]} clauses"
	for name in "${names[@]}"; do
		[[ -x $BROKEN/$name.hook ]] || fail "no hook breaks the clause $name"
	done
	for name in $(hooks "$BROKEN"); do
		[[ " ${names[*]} " == *" $(clause "$name") "* ]] || fail "$name.hook breaks no clause"
	done
}

@test "each broken hook is caught by the name of its clause" {
	local name want wrong=()
	test_hooks "$BROKEN"
	for name in $(hooks "$BROKEN"); do
		want='1 FAIL'
		[[ $SHOULD != *" $(clause "$name") "* ]] || want='0 warn'
		[[ "$(<"$OUT/$name.status") $(jq -r '.[].result' "$OUT/$name.json")" == "$want" ]] || wrong+=("$(told "$name")")
	done
	(( ${#wrong[@]} == 0 )) || fail "not caught:"$'\n'"$(printf '%s\n' "${wrong[@]}")"
}

# What a hook breaks beside its clause: one that hides trouble of every kind cannot be wrong in one way only, and one that
# takes what it does not know for done takes the actions of other layers so, too.
declare -gA ALSO=(
	[unknown-action]='pack unknown-layer'
	[unmount-frees]='unmount-half-mounted unmount-firmware-gone mount-failure term-mid-mount'
)

@test "a broken hook is caught for what it breaks, and for nothing else" {
	local name whole=(describe-shape unknown-action unmount-frees unmount-busy-2 no-process-left)
	test_hooks "$BROKEN" --whole "${whole[@]}"
	for name in "${whole[@]}"; do
		assert_eq 1 "$(<"$OUT/$name.status")" "$(told "$name")"
		assert_eq "$(sort_words "$(clause "$name") ${ALSO[$name]:-}")" "$(sort_words "$(verdicts "$name" FAIL)")" "$(told "$name")"
		assert_eq '' "$(verdicts "$name" warn)" "$name"
	done
	(( $(verdicts describe-shape skip | wc -w) == $(jq length "$OUT/describe-shape.json") - 1 )) ||
		fail "a hook that does not describe itself was tested: $(told describe-shape)"
}

sort_words() { tr ' ' '\n' <<<"$1" | sort | xargs; }

@test "right hooks of several kinds pass" {
	local name
	test_hooks "$GOOD"
	for name in $(hooks "$GOOD"); do
		assert_eq 0 "$(<"$OUT/$name.status")" "$(told "$name")"
		assert_eq '' "$(verdicts "$name" FAIL)$(verdicts "$name" warn)" "$(told "$name")"
		# A clause about what a hook does not have is skipped, and no other.
		if [[ $name == net ]]; then
			refute_has "$(verdicts net skip)" net-
			continue
		fi
		assert_eq '' "$(verdicts "$name" skip | tr ' ' '\n' |
			grep -vxE 'unmount-keeps-going|foreign-device|remount-refreshes|unmount-plain|probe-directory|fetch-.*|verify-.*|net-.*')" "$(told "$name")"
	done
	# Between them they have everything that is mounted; hooktest.bats has the rest.
	assert_eq 'probe-directory unmount-plain' "$(verdicts slow skip | tr ' ' '\n' | grep -vE '^(fetch|verify|net)-' | paste -sd' ')"
	refute_has "$(verdicts lib skip)" unmount-plain
}
