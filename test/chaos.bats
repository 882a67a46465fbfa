#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Life cycles of 20 instances while commands, supervisors, init stages and hooks are killed
# at random: test/chaos. CHAOS_KILLS and CHAOS_SEED choose how many and which.

load helpers

setup() { fw_setup; }
teardown() { fw_teardown; }

@test "nothing is lost and nothing left, whatever is killed" {
	local sums
	GO=${GO:-$("$REPO/conf/find-go")}
	(cd "$REPO" && CGO_ENABLED=0 "$GO" build -o "$BATS_TEST_TMPDIR/chaos" ./test/chaos)
	new_root "$BATS_TEST_TMPDIR/one"
	new_root "$BATS_TEST_TMPDIR/two"
	sums=$(tree_sum "$BATS_TEST_TMPDIR/one"; tree_sum "$BATS_TEST_TMPDIR/two"; tree_sum "$(ext2_image)")
	run "$BATS_TEST_TMPDIR/chaos" -program "$FIRMWARED" -root "$FW_ROOT" -image "$(ext2_image)" \
		-trees "$BATS_TEST_TMPDIR/one,$BATS_TEST_TMPDIR/two" -kills "${CHAOS_KILLS:-100}" -seed "${CHAOS_SEED:-0}" -limit "${CHAOS_LIMIT:-100s}" 3>&-
	printf '%s\n' "$output"
	[[ ! ${CHAOS_KILLS:-} ]] || printf '# %s\n' "${lines[@]}" >&3
	assert_eq 0 "$status"
	assert_eq "$sums" "$(tree_sum "$BATS_TEST_TMPDIR/one"; tree_sum "$BATS_TEST_TMPDIR/two"; tree_sum "$(ext2_image)")" 'the firmwares changed'
}
