#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The power is cut in the middle of life cycles: the QEMU machine of test/vm is ended with
# its disk as it is, booted again, audited, and goes on. CUTS says how often.

load helpers

# A machine without KVM takes its time.
BATS_TEST_TIMEOUT=${CUTS:+$BATS_TEST_TIMEOUT}
export BATS_TEST_TIMEOUT=${BATS_TEST_TIMEOUT:-600}

setup() {
	fw_setup
	handle=
}

teardown() {
	if [[ $handle ]]; then
		"$REPO/test/vm/run" --cut "$handle"
		rm -rf "$handle"
	fi
	fw_teardown
}

# boot ARG...: on the disk; sets handle once the audit is over.
boot() {
	handle=$("$REPO/test/vm/run" --background --timeout 600 --memory 1024 --disk "$BATS_TEST_TMPDIR/disk" -- "$REPO/test/vm/powercut" "$@" 3>&-) || return
	wait_until 300 grep -qE '^(audit ok|PROBLEM)' "$handle/stdout"
	grep -q '^audit ok' "$handle/stdout" || fail "$(cat "$handle/stdout" "$handle/stderr")"
}

cycles() { (( $(grep -c '^cycle' "$handle/stdout") >= $1 )); }

# cut: after some cycles, at a random moment of one.
cut_power() {
	wait_until 200 cycles "$((1 + RANDOM % 5))" || return
	sleep "0.$((RANDOM % 1000))"
	! grep PROBLEM "$handle/stdout" || fail "$(cat "$handle/stdout" "$handle/stderr")" || return
	"$REPO/test/vm/run" --cut "$handle"
	rm -rf "$handle"
	handle=
}

@test "power cuts: registry and rw layers are whole after each" {
	local n cuts=${CUTS:-1} began=$SECONDS
	for ((n = 1; n <= cuts; n++)); do
		boot
		[[ ! ${CUTS:-} ]] || printf '# cut %d: %s (%d s)\n' "$n" "$(grep 'audit ok' "$handle/stdout")" "$((SECONDS - began))" >&3
		cut_power
	done
	boot end
	rm -rf "$handle"
	handle=
}
