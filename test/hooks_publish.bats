#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# net.hook by itself: published ports (hooks/publish.bash), with real traffic, as test/hooks_net.bats has the rest.

load net_helpers

setup() { hn_setup; }
teardown() { hn_teardown; }

@test "publish: TCP and UDP, IPv4 and IPv6, for connections of the machine itself" {
	local before
	world
	on host ip address add 2001:db8::1/64 dev up0 nodad
	before=$(host_state)
	hn_up 1 'FIRMWARED_OPT_PUBLISH=:8080:80,127.0.0.1:5353:53/udp,[2001:db8::1]:8080:80,[::]:5353:53/udp,9090:90/tcp'
	assert_eq $'reach=127.0.0.1:8080->80\nreach=127.0.0.1:5353->53/udp\nreach=[2001:db8::1]:8080->80\nreach=[::]:5353->53/udp\nreach=127.0.0.1:9090->90' "$output"
	assert_has "$stderr" 'this machine does not forward IPv6'
	serve i1 one 80 53 90
	asks host tcp 127.0.0.1 8080 'one 10.202.0.5'
	asks host udp 127.0.0.1 5353 'one 10.202.0.5'
	asks host tcp 2001:db8::1 8080 'one *'
	asks host udp 2001:db8::1 5353 'one *'
	asks host tcp 127.0.0.1 9090 'one *'
	gets_nothing host tcp 127.0.0.1 5353
	hn_is 0 clean 1
	changes_nothing "$before"
	hn_is 0 create 1
	hn_is 1 configure 1 'FIRMWARED_OPT_PUBLISH=[::1]:8080:80'
	assert_has "$stderr" 'take 127.0.0.1'
	hn_down 1
}

@test "publish: what listens on the machine's 127.0.0.1 is not open to the instance" {
	hn_up 1 FIRMWARED_OPT_PUBLISH=:8080:80
	serve host private 7000
	on i1 ip route add 127.0.0.2/32 via 10.202.0.5 dev eth0
	on i1 ip route del local 127.0.0.0/8 dev lo table local || true
	on i1 ip address del 127.0.0.1/8 dev lo || true
	on i1 ip route add 127.0.0.0/8 via 10.202.0.5 dev eth0 src 10.202.0.6 || true
	on i1 sh -c 'echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet'
	gets_nothing i1 udp 127.0.0.1 7000
	gets_nothing i1 udp 127.0.0.2 7000
	asks i1 udp 10.202.0.5 7000 'private 10.202.0.6'
	hn_down 1
}

@test "publish: to the world on one address or on all, and no further" {
	local before
	world
	before=$(host_state)
	hn_up 1 'FIRMWARED_OPT_PUBLISH=203.0.113.1:8080:80,0.0.0.0:8081:80/udp'
	assert_eq 1 "$(forwarding up0)"
	serve i1 one 80 81
	asks world tcp 203.0.113.1 8080 'one 203.0.113.2'
	asks world udp 203.0.113.1 8081 'one 203.0.113.2'
	asks host tcp 203.0.113.1 8080 'one *'
	asks host udp 127.0.0.1 8081 'one 10.202.0.5'
	asks i1 tcp 203.0.113.1 8080 'one 10.202.0.5'
	serve world world 80
	gets_nothing i1 udp 203.0.113.2 80
	on world ip route add 10.202.0.0/16 via 203.0.113.1
	gets_nothing world tcp 10.202.0.6 81
	hn_down 1
	changes_nothing "$before"
}

@test "publish: 127.0.0.1 is not open to who sends such packets from the same network" {
	world
	hn_up 1 FIRMWARED_OPT_PUBLISH=:8080:80,203.0.113.1:8081:80
	serve i1 one 80
	on world sh -c 'echo 1 >/proc/sys/net/ipv4/conf/eth0/route_localnet'
	on world ip address del 127.0.0.1/8 dev lo
	on world ip route add 127.0.0.1/32 via 203.0.113.1 dev eth0 src 203.0.113.2
	gets_nothing world udp 127.0.0.1 8080
	asks world tcp 203.0.113.1 8081 'one *'
	hn_down 1
}

@test "publish: a port that is taken is refused with who has it" {
	serve host program 7000
	new_ns i1
	hn_up 1 FIRMWARED_OPT_PUBLISH=:8080:80
	new_ns i2
	hn_is 0 create 2
	hn_is 1 configure 2 FIRMWARED_OPT_PUBLISH=:8080:81
	assert_has "$stderr" "cannot publish 127.0.0.1 port 8080/tcp: it is taken by the instance $(id_of 1)"
	hn_is 1 configure 2 FIRMWARED_OPT_PUBLISH=0.0.0.0:8080:81
	assert_has "$stderr" "taken by the instance"
	hn_is 1 configure 2 FIRMWARED_OPT_PUBLISH=:7000:81
	assert_has "$stderr" 'a program on this machine listens there'
	hn_is 1 configure 2 FIRMWARED_OPT_PUBLISH=:7001:81,:7001:82
	assert_has "$stderr" twice
	hn_is 1 configure 2 FIRMWARED_OPT_PUBLISH=192.0.2.77:7001:81
	assert_has "$stderr" 'no address 192.0.2.77'
	hn_is 0 clean 2
	hn_is 0 create 2
	hn_is 0 configure 2 FIRMWARED_OPT_PUBLISH=:8080:81/udp,127.0.0.2:8080:81
	hn_down 2
	hn_down 1
	hn_up 2 FIRMWARED_OPT_PUBLISH=:8080:81
	hn_down 2
}

@test "publish: what is no port, or no address" {
	local it
	new_ns i1
	hn_is 0 create 1
	for it in 80 :0:80 :80:65536 :70000:1 10.1:80:80 1.2.3.4.5:80:80 '[::zz]:80:80' :80:80/sctp 'x:80:80' ':80:80;drop' ':80:80 drop'; do
		hn_is 1 configure 1 "FIRMWARED_OPT_PUBLISH=$it"
		assert_has "$stderr" 'option publish'
	done
	hn_is 0 clean 1
}
