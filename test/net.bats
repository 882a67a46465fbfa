#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2016 # what is in quotes is for the shell of the instance
# The network of instances: who has which, when a hook is called for it, and that nothing of it stays. The hook is a small one
# of the test's own, net/wire.hook.

load helpers

setup() {
	fw_setup
	local shipped=${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	mkdir "$BATS_TEST_TMPDIR/hooks"
	cp "$REPO/test/net/wire.hook" "$BATS_TEST_TMPDIR/hooks/"
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:$shipped
	fw_ok firmware add "$(busybox_root)" --name fw
}

teardown() { fw_teardown; }

SLEEP=(-- /bin/sleep 1000)

# box [KEY=VALUE...]: an instance with a network, started.
box() {
	local set=()
	for it; do set+=(--set "$it"); done
	fw_ok prepare fw --name box --set net=wire "${set[@]}"
	fw_ok start box "${SLEEP[@]}"
}

# address NAME: the IPv4 one.
address() { fw list --json | jq -r --arg name "$1" '.[] | select(.name == $name) | .addresses[0]'; }

# nothing_left: of any network, also before the instances are dropped. Their own number stays theirs.
nothing_left() { [[ -z $(leaked_interfaces; leaked_mounts | grep '/netns$'; compgen -G "$FW_ROOT/run/instances/*/net*"; compgen -G "$FW_ROOT/workspaces/*/netns") ]]; }
assert_nothing_left() { nothing_left || fail "left: $(leaked_interfaces; leaked_mounts; ls -d "$FW_ROOT"/run/instances/*/* "$FW_ROOT"/workspaces/*/*)"; }

reaches() { ping -c 1 -W 2 "$1" >/dev/null || fail "no answer from $1"; }

@test "a started instance is reachable at once, at the addresses that list, show and pid 1 tell" {
	local first six network
	fw_ok prepare fw --name box --set net=wire
	fw_ok start box -- /bin/sh -c 'echo "$FIRMWARED_ADDRESS $FIRMWARED_ADDRESS6 $FIRMWARED_GATEWAY"; exec sleep 1000'
	first=$(address box)
	reaches "$first"
	six=$(fw list --json | jq -r '.[0].addresses[1]')
	[[ $six == fd*:*:*::* ]] || fail "IPv6: $six"
	reaches "$six"
	wait_until 5 grep -q "^$first $six " "$FW_ROOT/workspaces/$(fw get box id)/console.log"
	assert_eq "$first $six" "$(fw get box addresses)"
	network=$(fw show --json box | jq -c .network)
	assert_eq "wire fw$(fw get box id) $first" "$(jq -r '"\(.mode) \(.host_interface) \(.reachable)"' <<<"$network")"
	assert_eq "${first%.*}.$((${first##*.} - 1))" "$(jq -r .gateway <<<"$network")"
	assert_has "$(jq -r '.addresses[]' <<<"$network")" "eth0 $first/30"
	assert_has "$(fw show box)" "reachable:    $first"
	fw_ok exec box -- /bin/sh -c 'echo "$FIRMWARED_ADDRESS6"; ping -c 1 "$FIRMWARED_GATEWAY" >/dev/null'
	assert_eq "$six" "$output"
	fw_ok start --all || true
	fw_ok kill box
	assert_nothing_left
	assert_eq '' "$(fw get box addresses)"
	# It keeps its address.
	fw_ok start box "${SLEEP[@]}"
	assert_eq "$first" "$(address box)"
	fw_ok restart box
	assert_eq "$first" "$(address box)"
	reaches "$first"
}

@test "without a user namespace it is the same" {
	export FIRMWARED_USERNS=off
	fw_ok prepare fw --name box --set net=wire
	fw_ok start box --unconfined "${SLEEP[@]}"
	reaches "$(address box)"
	fw_ok kill box
	assert_nothing_left
}

@test "none is lo alone, host is this machine's and said to be dangerous" {
	fw_ok prepare fw --name none
	fw_ok start none "${SLEEP[@]}"
	fw_ok exec none -- /bin/ls /sys/class/net
	assert_eq lo "$output"
	assert_eq '[]' "$(fw list --json | jq -c '.[0].addresses')"
	run --separate-stderr fw prepare fw --name host --set net=host
	assert_eq 0 "$status"
	# shellcheck disable=SC2154 # set by run
	assert_has "$stderr" 'warning: firmware fw: net=host is dangerous'
	run --separate-stderr fw start host "${SLEEP[@]}"
	assert_eq 0 "$status"
	assert_has "$stderr" 'warning: instance host: net=host is dangerous'
	assert_eq "$(readlink /proc/self/ns/net)" "$(readlink "/proc/$(fw get host pid)/ns/net")"
	run --separate-stderr fw set none net=host
	assert_has "$stderr" 'net=host is dangerous'
}

@test "nothing is left when pid 1 ends by itself, nor by drop, nor by run" {
	local six
	fw_ok prepare fw --name box --set net=wire
	fw_ok start box -- /bin/true
	wait_until 10 nothing_left
	fw_ok start box "${SLEEP[@]}"
	fw_ok drop --force box
	assert_eq '' "$(leaked_interfaces)$(leaked_networks)"
	fw_ok run fw --rm --name other --set net=wire -- /bin/sh -c 'echo "$FIRMWARED_ADDRESS6"; ip addr show dev eth0 >/etc/there; exit 7' || true
	assert_eq 7 "$status"
	six=$output
	[[ $six == fd* ]] || fail "IPv6: $six"
	assert_eq '' "$(leaked_interfaces)$(leaked_networks)"
}

@test "interface and address can be chosen; the hook is told that the address is not the instance's alone" {
	box net_interface=lan0 net_address=192.168.77.1/24
	fw_ok exec box -- /bin/ip -4 addr show dev lan0
	assert_has "$output" 'inet 192.168.77.1/24'
	fw_ok hook env wire configure net box
	assert_has "$output" 'FIRMWARED_NET_FIXED=yes'
	assert_has "$output" 'FIRMWARED_NET_ADDRESS=192.168.77.1/24'
	[[ $output =~ FIRMWARED_NET_TRANSIT_ADDRESS=10\.202\. && $output =~ FIRMWARED_NET_HOST_ADDRESS=10\.202\. ]] || fail "$output"
	assert_eq 192.168.77.1 "$(address box)"
	[[ $(fw show --json box | jq -r .network.reachable) == 10.202.* ]] || fail "$(fw show box)"
}

@test "what the hook decides itself is checked and shown" {
	box net_other=10.99.1.2/30 net_say='address=10.99.1.2/30\nreach=127.0.0.1:8080->80\nunknown=1\ngateway=10.99.1.1'
	assert_eq 10.99.1.2 "$(address box)"
	assert_eq '10.99.1.1 127.0.0.1:8080->80' "$(fw show --json box | jq -r '.network | "\(.gateway) \(.published[])"')"
	assert_has "$(fw show box)" 'published:    127.0.0.1:8080->80'
	fw_ok kill box
	fw_ok set box net_other=
	for it in 'interface=nosuch:the instance has no interface nosuch' 'address=10.0.0.1/8:does not have the address 10.0.0.1/8' \
		'address=here:is "here", not an address' 'host_interface=nosuch:this machine has no interface nosuch' 'reach=80:not HOST'; do
		fw_ok set box net_say="${it%%:*}"
		fw_fails 1 "hook wire reported success, but" start box "${SLEEP[@]}"
		assert_has "$stderr" "${it#*:}"
		assert_nothing_left
	done
	fw_ok set box net_say= net_other=
	fw_ok set box net_lie=configure
	fw_fails 1 "the instance's interface eth0 is down" start box "${SLEEP[@]}"
	assert_nothing_left
}

@test "hooks and options that are not there are refused at set, prepare and start" {
	fw_ok prepare fw --name box
	fw_fails 1 'cannot find hook "nosuch"' set box net=nosuch
	fw_fails 1 'hook mount makes no network' set box net=mount
	fw_fails 1 'none of none, host, veth, nor the name of a hook' set box net=No
	fw_fails 1 'network hook wire has no option net_nat (it has: net_break, net_hang' set box net=wire net_nat=yes
	fw_fails 1 'network hook wire has no option net_nat' prepare fw --set net=wire --set net_nat=yes
	fw_fails 1 'network hook wire has no option net_nat' start box --set net=wire --set net_nat=yes "${SLEEP[@]}"
	fw_fails 1 'not an interface name' set box net_interface=sixteen-letters-
	fw_fails 1 'is the address of a network' set box net_address=10.0.0.0/24
	fw_fails 1 'not an IPv4 address with a length' set box net_address=fd00::1/64
	fw_ok set box net_interface=eth1 net_nat=yes # nobody says yet whose option it is
	fw_fails 1 'has no option net_nat' set box net=wire
	assert_eq '' "$(fw get box net)"
	FIRMWARED_NET_POOL=10.0.0.1/16 fw_fails 1 'the network is 10.0.0.0/16' list
}

@test "a hook that fails at create or configure ends the start, and nothing is left" {
	local action
	fw_ok prepare fw --name box --set net=wire
	for action in create configure; do
		fw_ok set box net_break="$action"
		fw_fails 1 "wire.hook: $action failed on instance box: made to fail at $action" start box "${SLEEP[@]}"
		assert_nothing_left
		assert_eq ready "$(fw get box state)"
		assert_eq "$action net" "$(fw show --json box | jq -r '.hook_error | "\(.action) \(.layer)"')"
		fw_fails 125 "made to fail at $action" run fw --rm --set net=wire --set net_break="$action" -- /bin/true
		assert_eq '' "$(leaked_interfaces | grep -v "$(fw get box id)")"
	done
	fw_ok set box net_break=
	fw_fails 1 '/nosuch' start box -- /nosuch
	assert_nothing_left
	fw_ok set box net_hang=create
	FIRMWARED_HOOK_TIMEOUTS=wire.create=1s fw_fails 1 'wire.hook: create' start box "${SLEEP[@]}"
	assert_nothing_left
	assert_eq 1 "$(fw list --json | jq length)"
}

@test "a clean that fails is a warning, keeps the next start from doubling the network, and gc makes it good" {
	local it id
	box net_break=clean
	id=$(fw get box id)
	fw kill box 2>"$BATS_TEST_TMPDIR/err"
	assert_has "$(<"$BATS_TEST_TMPDIR/err")" 'warning: cannot take away the network of instance box: wire.hook: clean failed on instance box: made to fail at clean'
	assert_eq ready "$(fw get box state)"
	run --separate-stderr fw start box "${SLEEP[@]}"
	assert_eq 1 "$status"
	assert_has "$stderr" 'the network of its last run is still there'
	run --separate-stderr fw drop box
	assert_eq 1 "$status"
	touch "$FW_ROOT/run/instances/$id/net/mended"
	fw_ok gc --dry-run
	assert_has "$output" 'network box'
	fw_ok gc
	assert_has "$output" 'network box'
	assert_nothing_left
	fw_ok gc
	assert_eq '' "$output"
	fw_ok set box net_break= net_lie=clean
	fw_ok start box "${SLEEP[@]}"
	fw kill box 2>"$BATS_TEST_TMPDIR/err"
	assert_has "$(<"$BATS_TEST_TMPDIR/err")" "hook wire reported success, but interface fw$id is still there"
	ip link del "fw$id"
	fw_ok drop box
}

@test "an interface of its name is left alone, and the start says so" {
	local id
	fw_ok prepare fw --name box --set net=wire
	id=$(fw get box id)
	ip link add "fw$id" type bridge
	fw_fails 1 "this machine has an interface fw$id already: remove it (ip link del fw$id)" start box "${SLEEP[@]}"
	[[ -d /sys/class/net/fw$id ]] || fail 'it was removed'
	ip link del "fw$id"
	fw_ok start box "${SLEEP[@]}"
}

@test "the pool: each instance has its own network until it is dropped, also those of another root" {
	local one two
	export FIRMWARED_NET_POOL=10.203.0.0/29
	fw_ok prepare fw --count 3 --set net=wire
	fw_ok start "${lines[0]}" "${lines[1]}" "${SLEEP[@]}"
	assert_eq '10.203.0.2 10.203.0.6' "$(fw list --json | jq -r '[.[].addresses[0] // empty] | sort | join(" ")')"
	one=$(fw list --json | jq -r '.[] | select(.state == "ready") | .id') two=$(fw list --json | jq -r '[.[] | select(.state == "started") | .id][0]')
	fw_fails 1 'all 2 networks of net_pool 10.203.0.0/29 are taken' start "$one" "${SLEEP[@]}"
	fw_ok kill "$two"
	fw_fails 1 'are taken' start "$one" "${SLEEP[@]}"
	run_err 1 'are taken' "$FIRMWARED" --root "$FW_ROOT.2" run "$(busybox_root)" --rm --set net=wire -- /bin/true || true
	fw_ok drop "$two"
	fw_ok start "$one" "${SLEEP[@]}"
	FIRMWARED_NET_POOL=127.0.0.0/24 fw_fails 125 "this machine's own lo 127.0.0.1/8" run fw --rm --set net=wire -- /bin/true
}

@test "many at once have different networks and all answer" {
	local addresses it
	fw_ok prepare fw --count 12 --set net=wire
	fw_ok start --all "${SLEEP[@]}"
	mapfile -t addresses < <(fw list --json | jq -r '.[].addresses[0]' | sort -u)
	assert_eq 12 "${#addresses[@]}"
	for it in "${addresses[@]}"; do
		reaches "$it"
	done
	fw_ok kill --all
	assert_nothing_left
	fw_ok drop --all
}

@test "kill -9 of the supervisor: the next command takes the network away" {
	local id
	box
	id=$(fw get box id)
	kill -KILL "$(fw show --json box | jq .supervisor_pid)"
	wait_until 10 in_state box ready
	fw_ok firmware add "$(ext2_image)" --name other
	assert_nothing_left
	assert_eq '' "$(compgen -G "$FW_ROOT/run/pending/*")"
	fw_ok start box "${SLEEP[@]}"
	reaches "$(address box)"
}

@test "kill -9 and Ctrl-C of the command while its hook runs: pid 1 never ran, and nothing is left" {
	local it pid status id
	fw_ok prepare fw --name box --set net=wire --set net_hang=create
	id=$(fw get box id)
	for it in KILL INT; do
		fw start box -- /bin/sh -c 'echo ran' >/dev/null 2>"$BATS_TEST_TMPDIR/err" &
		pid=$!
		wait_until 10 test -d "/sys/class/net/fw$id"
		[[ $(pgrep -P "$pid" firmwared) == "" ]] || true
		kill -"$it" "$(pgrep -P "$pid" -x firmwared || printf '%s' "$pid")"
		status=0
		wait "$pid" || status=$?
		if [[ $it == INT ]]; then
			assert_eq '130 1' "$status $(wc -l <"$BATS_TEST_TMPDIR/err")"
		else
			wait_until 10 in_state box ready
			fw_ok gc
		fi
		assert_nothing_left
		assert_eq '' "$(fw logs box)"
	done
	fw_ok set box net_hang=
	fw_ok start box "${SLEEP[@]}"
}

@test "what an earlier boot had is forgotten without a call" {
	local dir
	fw_ok prepare fw --name box --set net=wire --set net_break=clean
	dir=$FW_ROOT/run/instances/$(fw get box id)
	mkdir "$dir/net"
	printf '{"boot_id":"another","data":{"hook":"wire"}}\n' >"$dir/net.json"
	mkdir -p "$FW_ROOT/run/net/leases"
	printf '{"boot_id":"another","data":true}\n' >"$FW_ROOT/run/net/boot.json"
	touch "$FW_ROOT/run/net/leases/wlan0" "$FW_ROOT/workspaces/$(fw get box id)/netns"
	fw_ok set box net_break=
	fw_ok start box "${SLEEP[@]}"
	[[ ! -e $FW_ROOT/run/net/leases/wlan0 ]] || fail 'a lease of an earlier boot is there'
	reaches "$(address box)"
}

@test "from another network namespace a network is not taken for gone" {
	local root=$FW_ROOT
	box
	run --separate-stderr unshare -n "$FIRMWARED" --root "$root" kill box 3>&-
	assert_has "$stderr" 'it was made in another network namespace'
	[[ -n $(leaked_interfaces) ]] || fail 'the interface went'
	fw_ok gc
	assert_nothing_left
}

@test "hook env, list and show know network hooks; a sample is made up" {
	fw_ok hook list
	assert_has "$output" 'a veth pair'
	fw_ok hook show wire
	assert_has "$output" 'net'
	fw_ok hook env wire create
	assert_has "$output" 'FIRMWARED_NET_HOST_IF=fw0123456789ab'
	assert_has "$output" 'FIRMWARED_LAYER=net'
	assert_has "$output" 'FIRMWARED_OPT_BREAK=VALUE'
	fw_fails 1 'hook wire has no layer that mount works on' hook env wire mount
	fw_ok prepare fw --name box --set net=wire
	fw_fails 1 'instance box has no network of a hook now' hook env wire create net box
}
