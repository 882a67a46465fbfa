#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside the virtual machine: what net.hook asks of kernels that an ordinary build machine's may lack. Delay and loss
# (netem), seen in figures with wide limits, since the machine is slow; a Wi-Fi phy, which mac80211_hwsim simulates.

load ../net_helpers

setup() { hn_setup; }
teardown() { hn_teardown; }

# times N HOST: sets MIN to the shortest round trip in ms, and GOT to how many of N came back.
times() {
	local said
	said=$(on host ping -n -q -c "$1" -i 0.05 -W 3 "$2") || true
	GOT=$(sed -nE 's/.* ([0-9]+) received.*/\1/p' <<<"$said")
	MIN=$(sed -nE 's|^rtt [^=]*= ([0-9]+)\..*|\1|p' <<<"$said")
}

@test "link: without options a round trip is short, a delay is seen once, as it is in one direction" {
	hn_up 1
	times 5 10.202.0.6
	assert_eq 5 "$GOT" 'answers'
	(( MIN < 100 )) || fail "took $MIN ms at least"
	hn_down 1
	hn_up 1 FIRMWARED_OPT_LINK_DELAY=300ms
	times 5 10.202.0.6
	assert_eq 5 "$GOT" 'answers'
	(( MIN >= 300 && MIN < 550 )) || fail "took $MIN ms at least, not 300 and a little"
	on i1 ping -n -q -c 1 -W 5 10.202.0.5 >/dev/null
	hn_is 0 clean 1
	refused on host tc qdisc show dev "fw$(id_of 1)"
}

@test "link: half of the packets are lost" {
	hn_up 1 FIRMWARED_OPT_LINK_LOSS=50%
	times 100 10.202.0.6
	(( GOT > 15 && GOT < 85 )) || fail "$GOT of 100 came back"
	hn_down 1
}

@test "link: delay and rate together" {
	local seconds
	hn_up 1 FIRMWARED_OPT_LINK_DELAY=50ms FIRMWARED_OPT_LINK_RATE=4mbit
	serve i1 one 80
	seconds=$(on host "${PEER[@]}" send 10.202.0.6 80 1000000)
	awk -v s="$seconds" 'BEGIN { exit !(s > 1.2 && s < 20) }' || fail "1 MB at 4 Mbit/s took $seconds s"
	hn_down 1
}

@test "nat, a published port and a bridge, by this kernel's modules" {
	local before
	world
	on host ip -4 route flush cache
	before=$(host_state)
	hn_up 1 FIRMWARED_OPT_NAT=yes FIRMWARED_OPT_PUBLISH=:8080:80 FIRMWARED_OPT_BRIDGE=lab
	mapfile -t args < <(fixed 2 192.168.1.10/24)
	hn_up 2 "${args[@]}" FIRMWARED_OPT_BRIDGE=lab
	serve world world 80
	serve i1 one 80
	serve i2 two 80
	asks i1 tcp 203.0.113.2 80 'world 203.0.113.1'
	asks host tcp 127.0.0.1 8080 'one *'
	asks host tcp 10.202.0.10 80 'two 192.168.1.1'
	asks i1 tcp 10.202.0.10 80 'two *'
	hn_down 1
	hn_down 2 "${args[@]}"
	changes_nothing "$before"
}

# phys NS: names of the Wi-Fi phys there.
phy_is_back() { iw phy "$1" info; }
phys() { on "$1" iw phy | sed -n 's/^Wiphy //p'; }

@test "lend: a Wi-Fi phy goes with its interfaces, comes back after a rename, and after its namespace has ended" {
	local phy
	modprobe mac80211_hwsim radios=1 || fail 'this kernel has no mac80211_hwsim'
	phy=$(iw phy | sed -n 's/^Wiphy //p' | tail -n 1)
	iw phy "$phy" set netns name "$W/pins/host"
	hn_up 1 "FIRMWARED_OPT_LEND=$phy"
	assert_eq "$phy" "$(phys i1)"
	assert_eq '' "$(phys host)"
	[[ -n $(on i1 iw dev) ]] || fail 'it came without its interface'
	# By its number: by a name iw looks into /sys, which is not that namespace's.
	on i1 iw "phy#${phy#phy}" set name odd
	hn_is 0 clean 1
	assert_eq "$phy" "$(phys host)" 'the phy after its return'
	hn_is 0 clean 1
	assert_eq '' "$(ls -A "$W/leases")"
	hn_up 2 "FIRMWARED_OPT_LEND=$phy"
	umount "$W/pins/i2" && rm "$W/pins/i2"
	hn_is 0 clean 2
	umount "$W/pins/host"
	wait_until 10 phy_is_back "$phy"
	modprobe -r mac80211_hwsim
	new_ns host
}
