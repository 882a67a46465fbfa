#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# net.hook by itself: pairs and addresses, nat, bridges, fixed addresses, with real traffic. The machine is a namespace of the
# test's own. test/hooks_publish.bats has published ports, test/hooks_lend.bats lent interfaces and links; test/net_traffic.bats
# goes through the program.

load net_helpers

setup() { hn_setup; }
teardown() { hn_teardown; }

@test "net: describe, and what it does not have" {
	hk net describe -
	assert_eq 0 "$status"
	assert_eq api=1 "${lines[0]}"
	assert_has "$output" $'\nlayers=net\n'
	assert_has "$output" $'\noption=nat bridge publish link_delay link_loss link_rate lend'
	hk net mount lower
	assert_eq 3 "$status"
	hk net probe -
	assert_eq 3 "$status"
	hk net clean union
	assert_eq 3 "$status"
}

@test "net: missing variables are all named, another version is refused" {
	hn_is 2 create 1 -FIRMWARED_NETNS -FIRMWARED_NET_IF -FIRMWARED_ID -FIRMWARED_STATE FIRMWARED_NET_HOST_IF=
	named FIRMWARED_NETNS FIRMWARED_NET_IF FIRMWARED_ID FIRMWARED_STATE FIRMWARED_NET_HOST_IF
	hn_is 2 configure 1 -FIRMWARED_NETNS -FIRMWARED_NET_ADDRESS FIRMWARED_NET_FIXED=yes FIRMWARED_OPT_LEND=x -FIRMWARED_NET_LEASES
	named FIRMWARED_NETNS FIRMWARED_NET_ADDRESS FIRMWARED_NET_TRANSIT_ADDRESS FIRMWARED_NET_LEASES
	hn_is 2 clean 1 -FIRMWARED_STATE -FIRMWARED_NET_HOST_IF
	named FIRMWARED_STATE FIRMWARED_NET_HOST_IF
	hn_is 2 clean 1 FIRMWARED_API=2
	run env -i "$HOOKS/net.hook"
	assert_eq 2 "$status"
}

@test "net: a pair, both ends reachable at once by IPv4 and IPv6, and gone without a trace" {
	local before
	before=$(host_state)
	new_ns i1
	hn_is 0 create 1
	on i1 ip link show eth0 >/dev/null
	hn_is 0 configure 1
	assert_eq '' "$output"
	pings host 10.202.0.6
	on host ping -n -q -c 1 -W 1 fd12:3456:789a::1:2 >/dev/null
	pings i1 10.202.0.5
	pings i1 fd12:3456:789a::1:1
	serve i1 one 80
	asks host tcp 10.202.0.6 80 'one 10.202.0.5'
	asks host udp fd12:3456:789a::1:2 80 'one fd12:3456:789a::1:1'
	assert_has "$(on i1 ip route)" 'default via 10.202.0.5 dev eth0'
	assert_has "$(on i1 ip -6 route)" 'default via fd12:3456:789a::1:1 dev eth0'
	hn_is 0 clean 1
	hn_is 0 clean 1
	changes_nothing "$before"
	assert_eq '' "$(ls -A "$W/state/1")"
}

@test "net: the hardware addresses stay the same, the name inside is as asked" {
	hn_up 1 FIRMWARED_NET_IF=wan.7
	local mac
	mac=$(on i1 ip -o link show wan.7)
	hn_down 1
	hn_up 1 FIRMWARED_NET_IF=wan.7
	[[ $(on i1 ip -o link show wan.7) == *"${mac#*link/ether }"* || $mac == *'link/ether 02:00:00:ab:c0:01 '* ]]
	assert_has "$(on i1 ip -o link show wan.7)" 'link/ether 02:00:00:ab:c0:01 '
	hn_down 1
	new_ns i1
	hn_is 1 create 1 'FIRMWARED_NET_IF=a"b'
	hn_is 1 create 1 FIRMWARED_NET_IF=1234567890123456
	hn_is 0 clean 1
}

@test "net: instances do not reach each other, nor the world, even where the machine forwards" {
	world
	on host sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
	hn_up 1
	hn_up 2
	serve i2 two 80
	serve world world 80
	asks host tcp 10.202.0.10 80 'two *'
	gets_nothing i1 tcp 10.202.0.10 80
	gets_nothing i1 tcp 203.0.113.2 80
	gets_nothing i1 udp 203.0.113.2 80
	hn_down 1
	hn_down 2
}

@test "net: a create that fails, and one that was half done, are cleaned" {
	local before
	before=$(host_state)
	new_ns i1
	on host ip link add fw"$(id_of 1)" type bridge
	hn_is 1 create 1
	assert_has "$stderr" "ip link add fw$(id_of 1)"
	hn_is 0 clean 1
	hn_is 0 create 1
	hn_is 0 clean 1
	hn_is 0 create 1 FIRMWARED_OPT_NAT=yes
	hn_is 1 configure 1 FIRMWARED_OPT_NAT=perhaps
	assert_has "$stderr" perhaps
	hn_is 0 clean 1
	changes_nothing "$before"
}

@test "net: clean when the namespace is gone, and after a reboot" {
	local before
	before=$(host_state)
	hn_up 1 FIRMWARED_OPT_BRIDGE=lab FIRMWARED_OPT_PUBLISH=:8080:80
	umount "$W/pins/i1"
	rm "$W/pins/i1"
	hn_is 0 clean 1
	changes_nothing "$before"
	rm -rf "$W/state/1"
	hn_is 0 clean 1
	# shellcheck disable=SC2034 # another kernel: the notes are of something that is no more
	hn_up 1 FIRMWARED_OPT_BRIDGE=lab FIRMWARED_OPT_NAT=yes FIRMWARED_OPT_PUBLISH=:8080:80
	umount "$W/pins/host"
	new_ns host
	hn_is 0 clean 1
	assert_eq '' "$(ls -A "$W/state/1")"
}

@test "lib.bash: a hook for networks of its own in a few lines" {
	NET_HOOK=$W/own.hook
	user_hook "$NET_HOOK" <<-'END'
		#!/bin/bash
		. "${FIRMWARED_LIB:-no FIRMWARED_LIB}/lib.bash" || exit 2
		HOOK_SUMMARY='an address of its own'
		HOOK_REQUIRES='tool:ip tool:nsenter'
		net_create() {
			echo chatter
			ip link add "$FIRMWARED_NET_HOST_IF" type veth peer name "$FIRMWARED_NET_IF" netns "$FIRMWARED_NETNS"
		}
		net_configure() {
			[[ $FIRMWARED_NAME != bad ]] || false
			nsenter --net="$FIRMWARED_NETNS" ip address add 192.0.2.7/24 dev "$FIRMWARED_NET_IF"
			announce address 192.0.2.7/24
		}
		net_clean() {
			ip link delete "$FIRMWARED_NET_HOST_IF"
			true
		}
		firmwared_hook
	END
	hk "$NET_HOOK" describe -
	assert_has "$output" $'\nlayers=net\n'
	hk_is 3 "$NET_HOOK" mount lower
	hk_is 3 "$NET_HOOK" probe -
	hn_is 2 create 1 -FIRMWARED_NETNS FIRMWARED_NET_IF= -FIRMWARED_STATE
	named FIRMWARED_NETNS FIRMWARED_NET_IF FIRMWARED_STATE
	hn_is 2 configure 1 -FIRMWARED_LAYER
	new_ns i1
	hn_is 0 create 1
	assert_eq '' "$output"
	hn_is 1 configure 1 FIRMWARED_NAME=bad
	hn_is 0 configure 1
	assert_eq address=192.0.2.7/24 "$output"
	hn_is 0 clean 1
	hn_is 1 clean 1 # it did not look
}

# --- nat ------------------------------------------------------------------------

@test "nat: the world is reached with the machine's address, and cannot come in; forwarding ends with the last user" {
	local before
	world
	before=$(host_state)
	hn_up 1 FIRMWARED_OPT_NAT=yes
	hn_up 2 FIRMWARED_OPT_NAT=yes
	assert_eq 1 "$(forwarding up0)"
	assert_eq 0 "$(forwarding all)"
	serve world world 80
	serve i1 one 80
	asks i1 tcp 203.0.113.2 80 'world 203.0.113.1'
	asks i2 udp 203.0.113.2 80 'world 203.0.113.1'
	pings i1 203.0.113.2
	on world ip route add 10.202.0.0/16 via 203.0.113.1
	gets_nothing world tcp 10.202.0.6 80
	gets_nothing i2 tcp 10.202.0.6 80
	hn_down 1
	assert_eq 1 "$(forwarding up0)"
	asks i2 tcp 203.0.113.2 80 'world 203.0.113.1'
	hn_down 2
	changes_nothing "$before"
}

@test "nat: forwarding that was on stays on, and no default route is told" {
	world
	on host sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
	hn_up 1 FIRMWARED_OPT_NAT=yes
	hn_down 1
	assert_eq 1 "$(forwarding up0)"
	on host ip route del default
	hn_up 1 FIRMWARED_OPT_NAT=yes
	assert_has "$stderr" 'no default route'
	hn_down 1
}

@test "nat: an instance that lies about its address is not let through" {
	world
	hn_up 1 FIRMWARED_OPT_NAT=yes
	serve world world 80
	on i1 ip address add 10.9.9.9/32 dev eth0
	on i1 ip route change default via 10.202.0.5 dev eth0 src 10.9.9.9
	gets_nothing i1 udp 203.0.113.2 80
	on i1 ip route change default via 10.202.0.5 dev eth0 src 10.202.0.6
	asks i1 udp 203.0.113.2 80 'world *'
	hn_down 1
}

# --- the same address -----------------------------------------------------------

@test "fixed: three instances with one address, each reached by its own; they see a network with a gateway" {
	local before n
	before=$(host_state)
	for n in 1 2 3; do
		mapfile -t args < <(fixed "$n" 192.168.1.10/24)
		hn_up "$n" "${args[@]}" "FIRMWARED_OPT_PUBLISH=:808$n:80"
		serve "i$n" "no$n" 80
	done
	for n in 1 2 3; do
		pings host "10.202.0.$((4 * n + 2))"
		asks host tcp "10.202.0.$((4 * n + 2))" 80 "no$n 192.168.1.1"
		asks host udp "10.202.0.$((4 * n + 2))" 80 "no$n 192.168.1.1"
		asks host tcp 127.0.0.1 "808$n" "no$n 192.168.1.1"
		asks host tcp "fd12:3456:789a::$n:2" 80 "no$n fd12:3456:789a::$n:1"
		pings "i$n" 192.168.1.1
	done
	serve host machine 7000
	asks i2 tcp 192.168.1.1 7000 'machine 10.202.0.10'
	for n in 1 2 3; do
		mapfile -t args < <(fixed "$n" 192.168.1.10/24)
		hn_down "$n" "${args[@]}"
	done
	changes_nothing "$before"
}

@test "fixed: nat, a gateway that is not the first address, and firmware that has set up its network itself" {
	world
	serve world world 80
	mapfile -t args < <(fixed 1 192.168.1.1/24)
	hn_up 1 "${args[@]}" FIRMWARED_OPT_NAT=yes FIRMWARED_OPT_PUBLISH=203.0.113.1:8080:80
	asks i1 tcp 203.0.113.2 80 'world 203.0.113.1'
	assert_has "$(on i1 ip route)" 'default via 192.168.1.2 dev eth0'
	on i1 ip route del default
	on i1 ip neigh flush dev eth0
	on host ip neigh flush dev fw"$(id_of 1)"
	serve i1 one 80
	asks host tcp 10.202.0.6 80 'one 192.168.1.2'
	asks world tcp 203.0.113.1 8080 'one 192.168.1.2'
	hn_down 1 "${args[@]}"
	mapfile -t args < <(fixed 1 192.168.1.1/32)
	new_ns i1
	hn_is 0 create 1 "${args[@]}"
	hn_is 1 configure 1 "${args[@]}"
	assert_has "$stderr" '/30'
	hn_is 0 clean 1
}

# --- bridges --------------------------------------------------------------------

@test "bridge: members see each other by their addresses, IPv4 and IPv6, others do not; it goes with the last" {
	local before
	world
	before=$(host_state)
	hn_up 1 FIRMWARED_OPT_BRIDGE=lab
	hn_up 2 FIRMWARED_OPT_BRIDGE=lab FIRMWARED_OPT_NAT=yes
	hn_up 3 FIRMWARED_OPT_BRIDGE=other
	serve i2 two 80
	serve world world 80
	asks i1 tcp 10.202.0.10 80 'two 10.202.0.6'
	asks i1 udp 10.202.0.10 80 'two 10.202.0.6'
	asks i1 tcp fd12:3456:789a::2:2 80 'two fd12:3456:789a::1:2'
	asks host tcp 10.202.0.10 80 'two *'
	asks host tcp fd12:3456:789a::2:2 80 'two *'
	gets_nothing i3 tcp 10.202.0.10 80
	gets_nothing i3 tcp fd12:3456:789a::2:2 80
	asks i2 tcp 203.0.113.2 80 'world 203.0.113.1'
	gets_nothing i1 udp 203.0.113.2 80
	hn_down 2
	on host ip link show fwb-lab >/dev/null
	refute_has "$(on host ip -o address show dev fwb-lab)" 10.202.0.9
	pings host 10.202.0.6
	hn_down 1
	refused on host ip link show fwb-lab
	hn_down 3
	changes_nothing "$before"
}

@test "bridge: a member with another's address gets no further than the bridge" {
	world
	serve world world 80
	hn_up 1 FIRMWARED_OPT_BRIDGE=lab
	hn_up 2 FIRMWARED_OPT_BRIDGE=lab FIRMWARED_OPT_NAT=yes
	on i1 ip address add 10.202.0.10/32 dev eth0
	on i1 ip route change default via 10.202.0.5 dev eth0 src 10.202.0.10
	gets_nothing i1 udp 203.0.113.2 80
	hn_down 1
	hn_down 2
}

@test "bridge: fixed addresses, the same ones by the machine, different ones directly" {
	local n
	for n in 1 2; do
		mapfile -t args < <(fixed "$n" 192.168.1.10/24)
		hn_up "$n" "${args[@]}" FIRMWARED_OPT_BRIDGE=lab
	done
	mapfile -t args < <(fixed 3 192.168.1.11/24)
	hn_up 3 "${args[@]}" FIRMWARED_OPT_BRIDGE=lab
	serve i2 two 80
	serve i3 three 80
	asks host tcp 10.202.0.10 80 'two 192.168.1.1'
	asks i1 tcp 10.202.0.10 80 'two *'
	hn_down 2
	asks i1 tcp 192.168.1.11 80 'three 192.168.1.10'
	asks host udp 10.202.0.14 80 'three 192.168.1.1'
	hn_down 1
	hn_down 3
}

@test "bridge: many at once, and names that are none" {
	local n before pids=()
	before=$(host_state)
	new_ns i9
	hn_is 0 create 9
	for n in Lab -lab elevenchars 'a b' ''; do
		[[ -n $n ]] || continue
		hn_is 1 configure 9 "FIRMWARED_OPT_BRIDGE=$n"
		assert_has "$stderr" 'option bridge'
	done
	hn_down 9
	for n in 1 2 3 4 5 6; do
		hn_up "$n" FIRMWARED_OPT_BRIDGE=lab "FIRMWARED_OPT_PUBLISH=:900$n:80" 3>&- &
		pids+=($!)
	done
	for n in "${pids[@]}"; do wait "$n"; done
	assert_eq 6 "$(on host ip -o link show master fwb-lab | wc -l)"
	pings i1 10.202.0.26
	pids=()
	for n in 1 2 3 4 5 6; do
		hn_down "$n" 3>&- &
		pids+=($!)
	done
	for n in "${pids[@]}"; do wait "$n"; done
	changes_nothing "$before"
}
