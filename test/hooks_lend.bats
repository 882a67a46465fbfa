#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# net.hook by itself: lent interfaces, and links with a rate. The interfaces are veth ends on a machine of the test's own; Wi-Fi
# is a stand-in for iw(8) that notes what it is asked. Delay and loss need a kernel with netem: test/vm/net.bats.

load net_helpers

setup() { hn_setup; }
teardown() { hn_teardown; }

# gear NAME ADDRESS...: an interface of the machine, up and with addresses, whose other end is on "far".
gear() {
	local name=$1 address
	[[ -e $W/pins/far ]] || new_ns far
	on host ip link add "$name" address "${MAC:-0a:00:00:00:00:01}" type veth peer name "$name" netns "$W/pins/far"
	on host ip link set "$name" addrgenmode none
	on host sh -c "echo 0 >/proc/sys/net/ipv6/conf/$name/accept_dad"
	shift
	for address; do
		on host ip address add "$address" dev "$name"
	done
	on host ip link set "$name" up
	on far ip link set "$name" up
}

@test "lend: an interface with another name and an address, and back with its own, up as it was" {
	local before
	gear can7 192.0.2.1/24 2001:db8::1/64
	before=$(host_state)
	hn_up 1 FIRMWARED_OPT_LEND=can7:eth1:198.51.100.1/24
	refused on host ip link show can7
	assert_has "$(on i1 ip -o address show dev eth1)" 198.51.100.1/24
	on far ip address add 198.51.100.2/24 dev can7
	pings i1 198.51.100.2
	hn_is 0 clean 1 FIRMWARED_OPT_LEND=can7:eth1:198.51.100.1/24
	changes_nothing "$before"
	hn_is 0 clean 1
	changes_nothing "$before"
}

@test "lend: what is taken is refused with who has it, what is not there, and names that are taken inside" {
	gear can7
	MAC=0a:00:00:00:00:02 gear can8
	hn_up 1 FIRMWARED_OPT_LEND=can7
	new_ns i2
	hn_is 0 create 2
	hn_is 1 configure 2 FIRMWARED_OPT_LEND=can7
	assert_has "$stderr" "cannot lend can7: it is lent to the instance $(id_of 1)"
	hn_is 1 configure 2 FIRMWARED_OPT_LEND=nothing
	assert_has "$stderr" 'cannot lend nothing: there is no such interface'
	hn_is 0 clean 2
	hn_is 0 create 2
	hn_is 1 configure 2 FIRMWARED_OPT_LEND=can8:eth0
	assert_has "$stderr" 'cannot lend can8 as eth0'
	hn_is 0 clean 2
	on host ip link show can8 >/dev/null
	hn_is 0 create 2
	hn_is 1 configure 2 FIRMWARED_OPT_LEND=can8::no-address
	hn_is 1 configure 2 FIRMWARED_OPT_LEND=lo
	hn_is 1 configure 2 "FIRMWARED_OPT_LEND=fw$(id_of 1)"
	hn_is 0 clean 2
	hn_down 1
	hn_up 2 FIRMWARED_OPT_LEND=can7,can8:eth1
	hn_down 2
	on host ip link show can7 >/dev/null
	on host ip link show can8 >/dev/null
}

@test "lend: an instance that renames it and changes its address does not keep it" {
	local before
	gear can7 192.0.2.1/24
	before=$(host_state)
	hn_up 1 FIRMWARED_OPT_LEND=can7:eth1
	on i1 ip link set eth1 down
	on i1 ip link set eth1 name 'odd@-x' address 0a:77:77:77:77:77
	on i1 ip link add can7 type veth peer name eth1
	hn_is 0 clean 1
	changes_nothing "$before"
}

@test "lend: back under another name since its namespace ended" {
	local before
	gear can7 192.0.2.1/24
	before=$(host_state)
	hn_up 1 FIRMWARED_OPT_LEND=can7:eth1
	# What the kernel does with hardware when a namespace ends, which veth would not live to see.
	on i1 ip link set eth1 netns "$W/pins/host" name dev7
	umount "$W/pins/i1" && rm "$W/pins/i1"
	hn_is 0 clean 1
	changes_nothing "$before"
}

@test "lend: gone for good is told, and a hook that was killed half-way is cleaned" {
	local before
	gear can7 192.0.2.1/24
	before=$(host_state)
	new_ns i1
	hn_is 0 create 1
	printf 'id=%s\nkind=link\nmac=0a:00:00:00:00:01\nindex=1\naddress=0a:00:00:00:00:01\naddrgenmode=none\nup=yes\nip=192.0.2.1/24 \n' "$(id_of 1)" >"$W/leases/can7"
	hn_is 0 clean 1 # the lease alone
	changes_nothing "$before"
	hn_is 0 create 1
	printf 'id=%s\nkind=link\nmac=0a:00:00:00:00:01\nindex=1\naddress=0a:00:00:00:00:01\naddrgenmode=none\nup=yes\nip=192.0.2.1/24 \n' "$(id_of 1)" >"$W/leases/can7"
	on host ip link set can7 netns "$W/pins/i1" # and moved, with no number on record
	hn_is 0 clean 1
	changes_nothing "$before"
	hn_up 1 FIRMWARED_OPT_LEND=can7
	on i1 ip link delete can7
	hn_is 0 clean 1
	assert_has "$stderr" 'the interface can7, which was lent, is gone'
	assert_eq '' "$(ls -A "$W/leases")"
}

# stand_in_iw: an iw(8) that knows phy3 and notes its other calls.
stand_in_iw() {
	mkdir -p "$W/tools"
	cat >"$W/tools/iw" <<-END
		#!/bin/sh
		case "\$*" in
		phy) printf 'Wiphy phy2\n\twiphy index: 7\nWiphy phy3\n\twiphy index: 3\n\tmax # scan SSIDs: 4\n' ;;
		*info) exit 1 ;;
		*) echo "\$*" >>$W/iw.log ;;
		esac
	END
	chmod 755 "$W/tools/iw"
	HOOK_PREFIX=$W/tools
}

@test "lend: a Wi-Fi phy goes and comes back as a whole (with a stand-in for iw)" {
	stand_in_iw
	hn_up 1 FIRMWARED_OPT_LEND=phy3
	assert_eq "phy#3 set netns name $W/pins/i1" "$(<"$W/iw.log")"
	new_ns i2
	hn_is 0 create 2
	hn_is 1 configure 2 FIRMWARED_OPT_LEND=phy3
	assert_has "$stderr" "cannot lend phy3: it is lent to the instance $(id_of 1)"
	hn_is 1 configure 2 FIRMWARED_OPT_LEND=phy4
	hn_is 1 configure 2 FIRMWARED_OPT_LEND=phy3:wlan0
	hn_is 0 clean 2
	hn_is 0 clean 1
	[[ $(tail -n 1 "$W/iw.log") =~ ^'phy#3 set netns '[0-9]+$ ]] || fail "$(<"$W/iw.log")"
	assert_eq '' "$(ls -A "$W/leases")"
}

# only TOOL...: prints a directory for PATH that has just these.
only() {
	local tool
	mkdir -p "$W/bin"
	for tool; do
		ln -sf "$(type -P "$tool")" "$W/bin/$tool"
	done
	printf '%s\n' "$W/bin"
}

@test "lend: without iw a phy is refused by name" {
	[[ -z $(type -P iw) ]] || HOOK_PATH=$(only ip nsenter sed rm bash env)
	new_ns i1
	hn_is 0 create 1
	hn_is 4 configure 1 FIRMWARED_OPT_LEND=phy3
	assert_has "$stderr" 'tool:iw'
	hn_is 0 clean 1
}
@test "link: a rate is kept to, and its words are checked" {
	local seconds it
	hn_up 1 FIRMWARED_OPT_LINK_RATE=8mbit
	serve i1 one 80
	seconds=$(on host "${PEER[@]}" send 10.202.0.6 80 2000000)
	# 2 MB at 1 MB/s, but for what goes at once
	awk -v s="$seconds" 'BEGIN { exit !(s > 1.2 && s < 6) }' || fail "took $seconds s"
	hn_down 1
	new_ns i1
	hn_is 0 create 1
	for it in LINK_RATE=fast LINK_RATE=10 LINK_RATE=0mbit LINK_DELAY=20 LINK_DELAY=-1ms LINK_LOSS=1 LINK_LOSS=101%; do
		hn_is 1 configure 1 "FIRMWARED_OPT_$it"
		assert_has "$stderr" 'option link_'
	done
	hn_is 0 clean 1
}
