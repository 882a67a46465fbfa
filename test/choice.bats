#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Which hook takes a firmware, and what `firmware add` tells of it beforehand.

load helpers

setup() {
	fw_setup
	HOOKS=$BATS_TEST_TMPDIR/hooks
	ASKED=$BATS_TEST_TMPDIR/asked
	mkdir "$HOOKS"
	export FIRMWARED_HOOK_DIRS=$HOOKS:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	head -c 5000 /dev/zero | tr '\0' x >"$BATS_TEST_TMPDIR/img"
	printf 'MAGIC' | dd of="$BATS_TEST_TMPDIR/img" bs=1 seek=100 conv=notrunc status=none
}
teardown() { fw_teardown; }

# hook NAME LINE... : a lower hook that describes itself with these lines as well
# and whose probe, from stdin, notes each call in $ASKED.
hook() {
	local name=$1
	shift
	{
		printf '#!/bin/bash\ncase $FIRMWARED_ACTION in\n'
		printf "describe) printf '%%s\\\\n' api=1 layers=lower summary=test %s ;;\n" "${*@Q}"
		printf 'probe) echo %s >>%q\n' "$name" "$ASKED"
		cat
		printf ';;\n*) exit 3 ;;\nesac\n'
	} >"$HOOKS/$name.hook"
	chmod 755 "$HOOKS/$name.hook"
}

# taken_by HOOK PATH: add gives the firmware to this hook.
taken_by() {
	fw_ok firmware add "$2"
	assert_eq "$1" "$(fw firmware show "$output" --json | jq -r .hook)"
}

asked() { [[ ! -e $ASKED ]] || paste -sd' ' "$ASKED"; }

@test "magic: a hook is asked only about images that have one of its own" {
	hook a-other magic=100:4d41474958 <<<'exit 0'
	hook b-far magic=4999:7878 <<<'exit 0'
	hook c-mine magic=0:6d6d 'magic=100:4d41474943 7:ff' <<<'exit 0'
	hook d-late <<<'exit 0'
	taken_by c-mine "$BATS_TEST_TMPDIR/img"
	assert_eq c-mine "$(asked)"
}

@test "magic: the one that has it is still asked, and may say no" {
	hook a-picky magic=100:4d41474943 <<<'exit 3'
	hook b-last <<<'exit 0'
	taken_by b-last "$BATS_TEST_TMPDIR/img"
	assert_eq 'a-picky b-last' "$(asked)"
}

@test "magic: a directory has none, an image that is too short has none" {
	hook a-magic magic=0:00 <<<'exit 0'
	hook b-none <<<'exit 3'
	mkdir "$BATS_TEST_TMPDIR/dir"
	taken_by mount "$BATS_TEST_TMPDIR/dir"
	assert_eq b-none "$(asked)"
	: >"$BATS_TEST_TMPDIR/empty"
	fw_fails 1 'tried: a-magic, b-none' firmware add "$BATS_TEST_TMPDIR/empty"
	assert_eq 'b-none b-none' "$(asked)"
}

@test "magic: --hook is the user's word against it" {
	hook a-magic magic=0:00 <<<'exit 3'
	fw_ok firmware add "$BATS_TEST_TMPDIR/img" --hook a-magic
	assert_eq a-magic "$(fw firmware show "$output" --json | jq -r .hook)"
}

@test "a probe that fails is warned of, and the next hook is asked" {
	local way
	for way in 'echo the dog ate it >&2; exit 1' 'echo missing: a tool >&2; exit 4' 'kill -9 $$' 'exit 77'; do
		hook a-broken <<<"$way"
		hook b-good <<<'exit 0'
		fw_ok firmware add "$BATS_TEST_TMPDIR/img"
		assert_has "$stderr" 'warning: a-broken.hook: probe failed'
		[[ $way != echo* ]] || assert_has "$stderr" "$(bash -c "${way%%>*}")"
		assert_eq b-good "$(fw firmware show "$output" --json | jq -r .hook)"
		fw_ok firmware remove "$output"
	done
}

@test "a probe that hangs is ended, and the next hook is asked" {
	hook a-slow <<<'sleep 1000'
	hook b-good <<<'exit 0'
	export FIRMWARED_HOOK_TIMEOUTS=a-slow=1s
	taken_by b-good "$BATS_TEST_TMPDIR/img"
	assert_has "$stderr" 'probe timed out after 1s'
}

@test "nobody takes it: who failed, and with which words, in the one line" {
	hook a-broken <<<'echo the dog ate it >&2; exit 1'
	hook b-lacking <<<'echo missing: a tool >&2; exit 4'
	hook c-no <<<'echo noise >&2; echo too new a version >&2; exit 3'
	fw_fails 1 'no hook can mount it (tried: a-broken, b-lacking, c-no, ' firmware add "$BATS_TEST_TMPDIR/img"
	assert_has "$stderr" 'a-broken.hook: probe failed'
	assert_has "$stderr" 'the dog ate it; b-lacking.hook: probe failed'
	assert_has "$stderr" 'something it needs is missing: missing: a tool; c-no.hook: too new a version; for a new'
	assert_eq '[]' "$(fw firmware list --json)"
}

@test "a probe that fails ends the add of --hook" {
	hook a-broken <<<'echo the dog ate it >&2; exit 1'
	hook b-good <<<'exit 0'
	fw_fails 1 'the dog ate it' firmware add "$BATS_TEST_TMPDIR/img" --hook a-broken
	assert_eq a-broken "$(asked)"
}

@test "requires: what is missing is told at the add, which succeeds" {
	hook a-needy 'requires=tool:mount tool:no-such-tool fs:overlay' 'requires=fs:no-such-fs dev:no-such-node dm:no-such-target future:word' <<<'exit 0'
	taken_by a-needy "$BATS_TEST_TMPDIR/img"
	assert_eq 1 "${#stderr_lines[@]}"
	assert_has "$stderr" 'hook a-needy needs what is missing here: program no-such-tool (install it), file system no-such-fs'
	assert_has "$stderr" '/dev/no-such-node'
	assert_has "$stderr" 'device-mapper target no-such-target'
	refute_has "$stderr" overlay
	refute_has "$stderr" future
	fw_ok firmware add "$BATS_TEST_TMPDIR/img" --hook a-needy
	assert_has "$stderr" 'no-such-tool'
}

@test "requires: all there, nothing said; a hook that is not taken is not told of" {
	hook a-no requires=tool:no-such-tool <<<'exit 3'
	hook b-yes 'requires=tool:mount fs:tmpfs dev:null' <<<'exit 0'
	taken_by b-yes "$BATS_TEST_TMPDIR/img"
	assert_eq '' "$stderr"
}

@test "requires: a program in the caller's PATH alone is not the hook's" {
	mkdir "$BATS_TEST_TMPDIR/bin"
	ln -s /bin/true "$BATS_TEST_TMPDIR/bin/only-mine"
	hook a-needy requires=tool:only-mine <<<'exit 0'
	PATH=$PATH:$BATS_TEST_TMPDIR/bin fw_ok firmware add "$BATS_TEST_TMPDIR/img"
	assert_has "$stderr" 'program only-mine'
}
