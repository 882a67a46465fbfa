#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Many instances of one image.

load helpers

setup() { fw_setup; }
teardown() { fw_teardown; }

@test "100 instances of one image prepared, started, killed and dropped, on one loop device, with nothing left" {
	fw_ok firmware add "$(ext2_image)" --name fw
	fw_ok prepare fw --count 100
	assert_eq 100 "${#lines[@]}"
	fw_ok start --all -- /bin/sleep 1000
	assert_eq 100 "$(fw list --json | jq '[.[] | select(.state == "started")] | length')"
	assert_eq 1 "$(leaked_loops | wc -l)" 'loop devices'
	fw_ok kill --all
	assert_eq 100 "$(fw list --json | jq '[.[] | select(.state == "ready")] | length')"
	fw_ok drop --all
	fw_ok firmware remove fw
	assert_eq '' "$(leaks)"
}
