# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Helpers of the bats files that drive net.hook with namespaces that they make: "host" stands for the machine, so that the
# real one's network is never touched, "world" for what is beyond it.
#
#	load net_helpers
#	setup() { hn_setup; }
#	teardown() { hn_teardown; }

load "${BASH_SOURCE[0]%/*}/hooks_helpers"

PEER=("$REPO/test/net_peer")
[[ ! -x /usr/bin/python3 ]] || PEER=(/usr/bin/python3 "${PEER[@]}") # not by way of somebody's wrapper

hn_setup() {
	hk_setup || return
	SERVERS=()
	mkdir -p "$W"/{pins,leases}
	new_ns host
}

hn_teardown() {
	hn_stop
	hk_teardown
}

# hn_stop: ends the servers, then the namespaces.
hn_stop() {
	local it
	for it in "${SERVERS[@]}"; do
		kill "$it" 2>/dev/null || true
		wait "$it" 2>/dev/null || true
	done
	for it in "$W"/pins/*; do
		[[ ! -e $it ]] || umount "$it" || true
	done
}

# new_ns NAME: a network namespace with lo up; on NAME COMMAND... runs in it.
new_ns() {
	: >"$W/pins/$1"
	unshare --net="$W/pins/$1" ip link set lo up
}
on() {
	local ns=$1
	shift
	nsenter --net="$W/pins/$ns" "$@"
}

# hn ACTION N [VARIABLE=VALUE]...: calls net.hook on the machine for instance N, whose namespace is pinned as iN and whose
# network is 10.202.0.4*N/30; sets status, output and stderr. A variable given as -VARIABLE is left out.
hn() {
	local action=$1 n=$2 it list=() i
	shift 2
	hn_vars "$action" "$n"
	for it; do
		[[ $it == -* ]] && unset "vars[${it#-}]" || vars[${it%%=*}]=${it#*=}
	done
	for it in "${!vars[@]}"; do
		list+=("$it=${vars[$it]}")
	done
	run --separate-stderr hn_exec "${list[@]}"
}
hn_exec() { cd / && umask 022 && on host env -i "$@" "${NET_HOOK:-$HOOKS/net.hook}" </dev/null 3>&-; }

hn_vars() {
	local n=$2
	unset vars
	declare -gA vars=([PATH]=${HOOK_PREFIX:+$HOOK_PREFIX:}$HOOK_PATH [LC_ALL]=C.UTF-8 [FIRMWARED_API]=1 [FIRMWARED_ACTION]=$1 [FIRMWARED_VERBOSE]=n
		[FIRMWARED_TIMEOUT]=20 [FIRMWARED_LIB]=$HOOKS [FIRMWARED_X_4711]=1 [FIRMWARED_LAYER]=net [FIRMWARED_NAME]=some
		[FIRMWARED_ID]=$(id_of "$n") [FIRMWARED_STATE]=$W/state/$n [FIRMWARED_NET_LEASES]=$W/leases
		[FIRMWARED_NET_IF]=eth0 [FIRMWARED_NET_HOST_IF]=fw$(id_of "$n")
		[FIRMWARED_NET_HOST_ADDRESS]=10.202.0.$((4 * n + 1))/30 [FIRMWARED_NET_ADDRESS]=10.202.0.$((4 * n + 2))/30
		[FIRMWARED_NET_HOST_ADDRESS6]=fd12:3456:789a::$n:1/126 [FIRMWARED_NET_ADDRESS6]=fd12:3456:789a::$n:2/126)
	[[ ! -e $W/pins/i$n ]] || vars[FIRMWARED_NETNS]=$W/pins/i$n
	mkdir -p "$W/state/$n"
}
id_of() { printf '%012x' "$((0xabc000 + $1))"; }

# fixed N CIDR: prints the variables for an instance that sees itself as CIDR.
fixed() {
	printf '%s\n' FIRMWARED_NET_FIXED=yes "FIRMWARED_NET_ADDRESS=$2" "FIRMWARED_NET_TRANSIT_ADDRESS=10.202.0.$((4 * $1 + 2))/30"
}

# hn_is STATUS ACTION N [VARIABLE=VALUE]...
hn_is() {
	local want=$1
	shift
	hn "$@"
	(( status == want )) || fail "${*@Q}: status $status instead of $want: $stderr"
}

# hn_up N [VARIABLE=VALUE]...: a new namespace, create and configure. hn_down N: clean, and the namespace's end.
hn_up() {
	[[ -e $W/pins/i$1 ]] || new_ns "i$1"
	hn_is 0 create "$@" && hn_is 0 configure "$@"
}
hn_down() {
	hn_is 0 clean "$@"
	umount "$W/pins/i$1" && rm "$W/pins/i$1"
}

# serve NS NAME PORT...: a server in a namespace, until the test ends.
serve() {
	local ns=$1 log=$BATS_TEST_TMPDIR/log.$1.$2
	shift
	nsenter --net="$W/pins/$ns" "${PEER[@]}" serve "$@" >"$log" 2>&1 3>&- &
	SERVERS+=($!)
	wait_until 10 grep -q ready "$log" || fail "$(<"$log")"
}

# changes_nothing BEFORE: the machine is as host_state said then.
changes_nothing() {
	local after
	after=$(host_state)
	[[ $after == "$1" ]] || fail "the machine has changed: $(diff <(printf '%s\n' "$1") <(printf '%s\n' "$after"))"
}

# asks NS PROTO HOST PORT ANSWER: what is asked from a namespace gets this answer; ANSWER is "NAME ASKER" or a pattern.
asks() {
	local answer
	answer=$(on "$1" "${PEER[@]}" ask "$2" "$3" "$4" 2>&1) || fail "$1 asks $2 $3 $4: $answer" || return
	# shellcheck disable=SC2053 # a pattern
	[[ $answer == $5 ]] || fail "$1 asks $2 $3 $4: got ${answer@Q}, wanted ${5@Q}"
}
gets_nothing() {
	local answer
	! answer=$(PEER_WAIT=0.5 on "$1" "${PEER[@]}" ask "$2" "$3" "$4" 2>&1) || fail "$1 asks $2 $3 $4: got ${answer@Q}"
}

# pings NS HOST: one packet there and back.
pings() { on "$1" ping -n -q -c 1 -W 2 "$2" >/dev/null || fail "$1 cannot ping $2"; }
no_ping() { ! on "$1" ping -n -q -c 1 -W 1 "$2" >/dev/null || fail "$1 can ping $2"; }

# host_state: all that a hook could change on the machine.
host_state() {
	on host ip -o link show | sed -E 's/^[0-9]+: //; s/@[^:]*//'
	on host ip -o address show | sed -E 's/^[0-9]+: //; s/valid_lft.*//; s/ nodad//'
	on host ip route show table all
	on host ip -6 route show table all
	on host nft list ruleset
	on host sh -c 'grep -r . /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv4/conf/*/route_localnet /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/*/forwarding'
	find "$W/leases" -type f 2>/dev/null || true
}

# world: another machine beyond the host's interface up0, which has the default route; 203.0.113.1 is the host, .2 the world.
world() {
	new_ns world
	on host ip link add up0 type veth peer name eth0 netns "$W/pins/world"
	on host ip link set up0 addrgenmode none # an address that comes later would be taken for the hook's
	on host ip address add 203.0.113.1/24 dev up0
	on host ip link set up0 up
	on world ip address add 203.0.113.2/24 dev eth0
	on world ip link set eth0 up
	on host ip route add default via 203.0.113.2
}

forwarding() { on host cat "/proc/sys/net/ipv4/conf/$1/forwarding"; }
