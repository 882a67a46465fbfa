#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2030,SC2031,SC2154 # run sets these, and bats makes each test a subshell
# Every shipped hook goes through the conformance kit.

load hooks_helpers

setup() {
	fw_setup
	W=$BATS_TEST_TMPDIR/w
	mkdir -p "$W"
}

teardown() { fw_teardown; }

# conforms ARG...: hook test says of no clause that it fails; sets VERDICTS.
conforms() {
	fw_ok hook test --json "$@"
	VERDICTS=$output
	assert_eq '' "$(jq -r '.[] | select(.result == "FAIL" or .result == "warn") | .clause + ": " + .why' <<<"$VERDICTS")" "$*"
}

# result CLAUSE: from VERDICTS.
result() { jq -r --arg name "$1" '.[] | select(.clause == $name) | .result' <<<"$VERDICTS"; }

@test "mount.hook, with a directory and with an image" {
	hk_tree "$W/tree"
	conforms mount "$W/tree"
	image ext4 "$W/image"
	conforms mount "$W/image"
	assert_eq ok "$(result unmount-busy)"
}

@test "squashfs.hook and erofs.hook" {
	image squashfs "$W/squashfs"
	conforms squashfs "$W/squashfs"
	assert_eq ok "$(result unmount-half-mounted)"
	image erofs "$W/erofs"
	conforms erofs "$W/erofs"
	assert_eq ok "$(result unmount-half-mounted)"
}

@test "disk.hook, with its option" {
	disk gpt "$W/disk" none:1 ext4:8 squashfs:4
	conforms disk "$W/disk" --option partition=3
	assert_eq ok "$(result mount-shows)"
}

@test "fetch.hook and verify.hook" {
	local clause
	conforms fetch
	for clause in missing-variables unknown-names fetch-gets fetch-fails fetch-limit; do
		assert_eq ok "$(result "$clause")" "$clause"
	done
	conforms verify
	assert_eq ok "$(result verify-refuses)"
}

@test "net.hook" {
	local clause
	conforms net
	for clause in missing-variables unknown-names net-create net-configure net-clean net-clean-half net-clean-others net-at-once; do
		assert_eq ok "$(result "$clause")" "$clause"
	done
}

@test "verity.hook and aufs.hook work, or say what this machine lacks" {
	image squashfs "$W/image"
	local hash
	hash=$(veritysetup format "$W/image" "$W/tree" | sed -n 's/^Root hash:[[:space:]]*//p')
	conforms verity "$W/image" --option "roothash=$hash" --option "hash=$W/tree"
	assert_eq skip "$(result probe-mine)" 'found by --hook only'
	[[ $(result mount-again) == ok ]] || assert_has "$stderr" 'missing here: dm:verity'
	conforms aufs
	[[ $(result mount-again) == ok ]] || assert_has "$stderr" 'missing here: fs:aufs'
}
