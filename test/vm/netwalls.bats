#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside the virtual machine: net.hook's network under AppArmor, in a user namespace, and under both, through the
# program. test/net_traffic.bats has all else.

load ../helpers

setup() {
	[[ ${FIRMWARED_VM-} == 1 ]] || fail 'run me by test/vm/bats' || return
	fw_setup
	# The shared tree has hundreds of links, each of which costs a process: minutes, under emulation.
	mkdir -p "$BATS_TEST_TMPDIR/tree"/{bin,dev,proc,sys}
	cp /bin/busybox "$BATS_TEST_TMPDIR/tree/bin/sh"
	fw_ok firmware add "$BATS_TEST_TMPDIR/tree" --name fw
}
teardown() { fw_teardown; }

# network CONFINEMENT: a machine and an instance under it reach each other, by both protocols and a published port, and
# root in the instance may change its own interface.
network() {
	local four six
	fw_ok prepare fw --name box --set net=veth --set net_publish=:8080:80
	# shellcheck disable=SC2016 # the shell inside expands it
	fw_ok start box -- /bin/sh -c 'echo hello >/page
		ping -c 1 -W 5 "$FIRMWARED_GATEWAY" >/dev/null && echo "reached $FIRMWARED_GATEWAY"
		ip address add 192.0.2.1/32 dev eth0 && echo changed
		exec httpd -f -h /'
	assert_eq "$1" "$(fw show --json box | jq -r '.confinement | [if .apparmor != "" then "apparmor" else empty end,
		if .user_namespace then "userns" else empty end] | join("+")')"
	four=$(fw list --json | jq -r '.[0].addresses[0]')
	six=$(fw list --json | jq -r '.[0].addresses[1]')
	wait_until 20 curl -sf -o /dev/null "http://$four/page"
	assert_eq hello "$(curl -s "http://$four/page")"
	assert_eq hello "$(curl -s "http://[$six]/page")"
	assert_eq hello "$(curl -s http://127.0.0.1:8080/page)"
	fw_ok logs box
	assert_has "$output" 'reached 10.'
	assert_has "$output" changed
	fw_ok kill box
	fw_ok drop box
}

@test "a network under AppArmor" {
	export FIRMWARED_APPARMOR=required FIRMWARED_USERNS=off
	network apparmor
}

@test "a network in a user namespace" {
	export FIRMWARED_APPARMOR=off FIRMWARED_USERNS=on
	network userns
}

@test "a network under AppArmor and in a user namespace" {
	export FIRMWARED_APPARMOR=required FIRMWARED_USERNS=on
	network apparmor+userns
}
