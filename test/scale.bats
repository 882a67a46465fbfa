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

@test "40 instances with a network started, killed and dropped; no interface, address, route, rule or namespace left" {
	mkdir "$BATS_TEST_TMPDIR/hooks"
	cp "$REPO/test/net/wire.hook" "$BATS_TEST_TMPDIR/hooks/"
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --count 40 --set net=wire
	fw_ok start --all -- /bin/sleep 1000
	assert_eq 40 "$(fw list --json | jq '[.[].addresses[0]] | unique | length')"
	assert_eq 40 "$(leaked_interfaces | wc -l)"
	fw_ok kill --all
	assert_eq '' "$(leaked_interfaces)$(leaked_mounts | grep '/netns$')"
	fw_ok drop --all
	fw_ok firmware remove fw
	assert_eq '' "$(leaks)"
}
