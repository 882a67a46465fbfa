#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# Instances of the built program whose network is net.hook's, with real traffic. The program itself runs on a machine of the
# test's own, so the real one's interfaces and rules are never touched. test/hooks_net.bats has the hook's own corners.

load net_helpers

setup() {
	fw_setup
	W=$BATS_TEST_TMPDIR/w
	SERVERS=()
	mkdir -p "$W/pins"
	new_ns host
	fw_ok firmware add "$(busybox_root)" --name fw
}

teardown() {
	fw_drop_all || true # while there is a machine to do it on
	hn_stop
	fw_teardown
}

# fw ARG...: as in helpers, on the machine of the test.
fw() {
	local enter=()
	! mountpoint -q "$W/pins/host" || enter=(on host)
	"${enter[@]}" "$FIRMWARED" --root "$FW_ROOT" "$@" 3>&-
}

# box NAME [KEY=VALUE]...: an instance with net=veth and a web page with its name, started.
box() {
	local name=$1 set=() it
	shift
	for it; do set+=(--set "$it"); done
	fw_ok prepare fw --name "$name" --set net=veth "${set[@]}"
	fw_ok start "$name" -- /bin/sh -c "mkdir -p /www && echo $name >/www/index.html && exec httpd -f -p 80 -h /www"
}

address() { fw list --json | jq -r --arg name "$1" '.[] | select(.name == $name) | .addresses[0]'; }

# fetch HOST PORT: by HTTP, from the machine. says NAME HOST PORT: within 10 s it is the page of that instance; pid 1 has started a moment ago.
fetch() { on host "${PEER[@]}" get "$1" "$2"; }
is_page() { [[ $(fetch "$2" "$3") == "$1" ]]; }
says() { wait_until 10 is_page "$@" || fail "$2 port $3 is not $1's: $(fetch "$2" "$3" 2>&1)"; }

# inside NAME COMMAND...: in the instance.
inside() { fw exec "$1" -- /bin/sh -c "$2"; }

@test "veth: HTTP, ping, UDP by IPv4 and IPv6, and nothing left" {
	local before a six
	before=$(host_state)
	box one
	a=$(address one)
	six=$(fw list --json | jq -r '.[0].addresses[1]')
	says one "$a" 80
	says one "$six" 80
	pings host "$six"
	serve host machine 7000
	inside one "ping -c 1 \$FIRMWARED_GATEWAY >/dev/null"
	nsenter --net="/proc/$(fw get one pid)/ns/net" "${PEER[@]}" ask udp "${a%.*}.$((${a##*.} - 1))" 7000 | grep -q "machine $a"
	fw_ok kill one
	changes_nothing "$before"
	fw_ok start one -- /bin/sleep 1000
	assert_eq "$a" "$(address one)"
	fw_ok drop --force one
	changes_nothing "$before"
}

@test "veth: two instances with one address are told apart by show, and by their ports" {
	local a b
	box one net_address=192.168.1.10/24 net_publish=:8081:80
	box two net_address=192.168.1.10/24 net_publish=:8082:80
	assert_has "$(inside one 'ip addr show dev eth0')" 192.168.1.10/24
	assert_has "$(inside two 'ip addr show dev eth0')" 192.168.1.10/24
	a=$(fw show --json one | jq -r .network.reachable)
	b=$(fw show --json two | jq -r .network.reachable)
	[[ $a != "$b" ]] || fail "both are reached at $a"
	says one "$a" 80
	says two "$b" 80
	says one 127.0.0.1 8081
	says two 127.0.0.1 8082
	assert_has "$(fw show one)" '127.0.0.1:8081->80'
	assert_eq 192.168.1.1 "$(fw show --json one | jq -r .network.gateway)"
}

@test "veth: nat to the world, forwarding is back as it was after kill -9 of the supervisor" {
	local before
	world
	before=$(host_state)
	serve world world 80
	box one net_nat=yes
	nsenter --net="/proc/$(fw get one pid)/ns/net" "${PEER[@]}" ask tcp 203.0.113.2 80 | grep -q 'world 203.0.113.1'
	assert_eq 1 "$(forwarding up0)"
	kill -KILL "$(fw show --json one | jq -r .supervisor_pid)"
	wait_until 5 in_state_not one running
	fw_ok gc
	changes_nothing "$before"
}
link_gone() { ! on host ip link show "$1"; }
in_state_not() { [[ $(fw get "$1" state) != "$2" ]]; }

@test "veth: members of a bridge see each other, and a taken port is one clear line" {
	box one net_bridge=lab net_publish=:8080:80
	box two net_bridge=lab
	box three
	says two "$(address two)" 80
	assert_has "$(inside one "printf 'GET / HTTP/1.0\r\n\r\n' | nc -w 5 $(address two) 80")" two
	inside one "ping -c 1 -W 5 $(address two) >/dev/null"
	! inside three "ping -c 1 -W 1 $(address two) >/dev/null" || fail 'three is no member'
	fw_ok prepare fw --name four --set net=veth --set net_publish=:8080:80
	fw_fails 1 "it is taken by the instance $(fw get one id)" start four -- /bin/sleep 1000
	fw_ok kill one
	fw_ok start four -- /bin/sleep 1000
}

@test "veth: a lent interface comes back when the run ends by itself, and after kill -9" {
	local before
	new_ns far
	on host ip link add can7 type veth peer name can7 netns "$W/pins/far"
	on host ip link set can7 addrgenmode none
	on host ip address add 192.0.2.1/24 dev can7
	on host ip link set can7 up
	before=$(host_state)
	box one net_lend=can7:eth1:192.0.2.9/24
	assert_has "$(inside one 'ip addr show dev eth1')" 192.0.2.9/24
	fw_ok prepare fw --name two --set net=veth --set net_lend=can7
	fw_fails 1 "it is lent to the instance $(fw get one id)" start two -- /bin/sleep 1000
	inside one 'kill -KILL 1; kill 1' || true
	kill -KILL "$(fw get one pid)"
	wait_until 10 on host ip link show can7
	wait_until 10 link_gone "fw$(fw get one id)"
	changes_nothing "$before"
	fw_ok start two -- /bin/sleep 1000
	kill -KILL "$(fw show --json two | jq -r .supervisor_pid)"
	wait_until 5 in_state_not two running
	fw_ok gc
	changes_nothing "$before"
}

@test "veth: an option that the hook does not have, and a value that is none" {
	fw_ok prepare fw --name one --set net=veth
	run --separate-stderr fw set one net_speed=fast
	(( status != 0 )) || fail 'net_speed was taken'
	assert_has "$stderr" link_rate
	fw_ok set one net_link_rate=fast
	fw_fails 1 "option link_rate: not a rate like 10mbit: 'fast'" start one -- /bin/sleep 1000
	fw_ok set one net_link_rate=10mbit
	fw_ok start one -- /bin/sleep 1000
	assert_has "$(on host tc qdisc show dev "fw$(fw get one id)")" 'rate 10Mbit'
}
