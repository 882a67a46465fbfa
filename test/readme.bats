#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# README's tutorial, run as it is written.

load helpers

setup() { fw_setup; }
teardown() { fw_teardown; }

@test "the tutorial's commands do what README says" {
	local script
	script=$(sed -n '/^```sh$/,/^```$/{/^```/d;p}' "$REPO/README.md")
	assert_has "$script" 'firmwared remount box'
	cd "$BATS_TEST_TMPDIR"
	PATH=${FIRMWARED%/*}:$PATH FIRMWARED_ROOT=$FW_ROOT run --separate-stderr bash -u -c "$script" 3>&- </dev/null
	assert_eq '0 ' "$status $stderr"
	assert_has "$output" $'this is a test file\nthis is a test file\nReally'
	assert_has "$output" rw/bar/baz/42
	refute_has "$output" rw/foo
	assert_has "$output" plop
	assert_has "${output#*plop}" moo
	assert_eq 7 "${lines[-1]}"
}

@test "the table of break-out attempts has the areas of the suite, and none is open under a wall" {
	local rows
	make -s -C "$REPO" build/attempts 3>&-
	rows=$(sed -n '/^<!-- escape: /,/^<!-- end of escape -->$/s/^| \([^|]*\) | \([0-9]*\) | .*/\1\t\2/p' "$REPO/README.md")
	assert_eq "$("$REPO/test/escape/table" --areas | awk -F'\t' '{ n += $2; print } END { print "all\t" n }')" "$rows" \
		'make test-escape brings README up to date'
	run sed -n '/^<!-- escape: /,/^<!-- end of escape -->$/s/^\(| [^|]* | [0-9]* |[^|]*|[^|]*|[^|]*|\).*/\1/p' "$REPO/README.md"
	refute_has "$output" open
	assert_has "$output" blocked
}
