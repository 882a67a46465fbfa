# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2034,SC2153 # net.hook uses what is set here, and sets what is used
#
# net.bash: the options of net.hook, but for lent interfaces. net.hook sources it after read_variables, whose words it uses.
#
# An instance with rules has two tables of its own, `inet firmwared_ID` and `netdev firmwared_ID`: what is of one instance
# goes as one, and a reboot takes it all. What several share, a bridge and the forwarding on the machine's interfaces, is
# changed under a lock; who uses it is asked of the kernel, which cannot be out of date: a bridge's users are its
# ports, the others are comments in the tables' chain "holds".
#
# Notes in FIRMWARED_STATE, each made before what it tells of: `rules`, there may be tables; `bridge`, NAME and the
# machine's addresses on it.

BRIDGE_MAC=0a:66:77:62:00:01 # of each bridge: they are networks of their own. Else it would change with the ports.

# lock: shared by all that work in this network namespace, of any root; it leaves no file.
lock() {
	need_tool flock
	exec {LOCK}</proc/self/ns/net
	flock -w "${FIRMWARED_TIMEOUT:-5}" "$LOCK" || fatal 1 'another network hook has held the lock for too long'
}

net_options() {
	REACH=()
	if [[ -n $RULES ]]; then
		need_tool nft
		lock
		[[ -z $BRIDGE ]] || join_bridge
		load_rules
		exec {LOCK}<&-
	fi
	[[ -z $LINK ]] || shape_link
}

# --- bridges -------------------------------------------------------------------------------------------------------

# join_bridge: PORT becomes a port of the bridge, which the first one makes, and the machine's addresses for this instance
# are the bridge's. IPv4 between instances goes by the machine, so it does not matter what networks they think they are in.
join_bridge() {
	[[ $BRIDGE =~ ^[a-z0-9][a-z0-9-]{0,9}$ ]] ||
		fatal 1 "option bridge: ${BRIDGE@Q} is not 1 to 10 of a-z, 0-9 and - (not at the beginning)"
	L3=fwb-$BRIDGE HOST_MAC=$BRIDGE_MAC
	printf '%s\n' "$L3" "$FIRMWARED_NET_HOST_ADDRESS" "${A6:+${FIRMWARED_NET_HOST_ADDRESS6:-}}" >"$FIRMWARED_STATE/bridge"
	BATCH=''
	ip link show dev "$L3" >/dev/null 2>&1 ||
		BATCH="link add $L3 address $BRIDGE_MAC type bridge stp_state 0 forward_delay 0 mcast_snooping 0"$'\n'
	BATCH+="link set $PORT master $L3"
	host_addresses
	BATCH+=$'\n'"link set $L3 up"
	ip_batch
}

# leave_bridge: PORT is gone already. The last one takes the bridge along.
leave_bridge() {
	local bridge='' address said failed=0 addresses=()
	mapfile -t addresses <"$FIRMWARED_STATE/bridge"
	bridge=${addresses[0]:-}
	if [[ $bridge == fwb-* ]] && ip link show dev "$bridge" >/dev/null 2>&1; then
		if [[ -z $(ip -o link show master "$bridge") ]]; then
			delete_link "$bridge" || failed=1
		else
			for address in "${addresses[@]:1}"; do
				[[ -z $address ]] || said=$(ip address delete "$address" dev "$bridge" 2>&1) ||
					[[ $said == *'Cannot assign'* ]] || { printf '%s: %s\n' "$bridge" "$said" >&2 && failed=1; }
			done
		fi
	fi
	((failed)) || rm -f -- "$FIRMWARED_STATE/bridge"
	return "$failed"
}

# site_of ADDRESS6: prints the /48 that all instances of a root are in.
site_of() {
	local groups
	IFS=: read -ra groups <<<"${1%%::*}"
	printf '%s:%s:%s::/48' "${groups[0]:-0}" "${groups[1]:-0}" "${groups[2]:-0}"
}

# --- links that are slow, or lose ----------------------------------------------------------------------------------

# shape_link: what is sent to the instance; what it sends is not touched. netem where there is delay or loss; a rate alone
# is a token bucket, which every kernel has.
shape_link() {
	local delay=${FIRMWARED_OPT_LINK_DELAY:-} loss=${FIRMWARED_OPT_LINK_LOSS:-} rate=${FIRMWARED_OPT_LINK_RATE:-} said
	[[ -z $delay || $delay =~ ^[0-9]+(\.[0-9]+)?(us|ms|s)$ ]] || fatal 1 "option link_delay: not a time like 20ms: ${delay@Q}"
	[[ -z $loss || $loss =~ ^[0-9]{1,2}(\.[0-9]+)?%$ || $loss == 100% ]] || fatal 1 "option link_loss: not a percentage like 1%: ${loss@Q}"
	[[ -z $rate || $rate =~ ^[1-9][0-9]{0,8}[kmg]?bit$ ]] || fatal 1 "option link_rate: not a rate like 10mbit: ${rate@Q}"
	need_tool tc
	local shape=()
	if [[ -n $delay$loss ]]; then
		shape=(netem limit 10000 ${delay:+delay "$delay"} ${loss:+loss "$loss"} ${rate:+rate "$rate"})
	else
		shape=(tbf rate "$rate" burst "$(burst_of "$rate")" latency 50ms)
	fi
	said=$(tc qdisc replace dev "$PORT" root "${shape[@]}" 2>&1) && return
	[[ $said != *'qdisc kind is unknown'* ]] || fatal 4 "missing here: the kernel's ${shape[0]} (module sch_${shape[0]})"
	fatal 1 "cannot shape the link: ${said//$'\n'/ }"
}

# burst_of RATE: in bytes, 10 ms of it: less than a timer's tick would slow it down; never less than a big packet.
burst_of() {
	local bytes=${1%%[!0-9]*}
	case $1 in
	*kbit) ((bytes *= 1000)) ;;
	*mbit) ((bytes *= 1000000)) ;;
	*gbit) ((bytes *= 1000000000)) ;;
	esac
	((bytes /= 800))
	printf '%s\n' $((bytes < 16384 ? 16384 : bytes))
}

# --- rules ---------------------------------------------------------------------------------------------------------

# load_rules: all of it in one transaction of nft(8), which takes the place of what was there. Only then is anything let in or
# forwarded that the rules hold back.
load_rules() {
	local HELD=() OWN_UPLINKS=() OTHERS_UPLINKS=' ' UPLINKS=() PUBLISHED=() said it
	# shellcheck source=hooks/publish.bash
	. "$HERE/publish.bash"
	parse_publish
	read_holds || fatal 4 'missing here: nf_tables of the kernel'
	for it in "${!PUBLISHED[@]}"; do
		refuse_taken "$it"
	done
	find_uplinks
	[[ -z $FIXED ]] || find_gateway
	: >"$FIRMWARED_STATE/rules"
	said=$(nft -f - <<<"$(drop_tables)
$(rules)" 2>&1) || fatal 1 "cannot load the rules: ${said//$'\n'/ }"
	[[ -z $BRIDGE${UPLINKS[*]:-} && $NAT == no ]] || sysctl ipv4 "$L3" forwarding 1
	((${#PUBLISHED[@]} == 0)) || sysctl ipv4 "$L3" route_localnet 1 # 127.0.0.1 is the source of local connections
	for it in "${UPLINKS[@]}"; do
		sysctl ipv4 "$it" forwarding 1
	done
}

# drop_tables: that they are there at first is what lets the deletion work in any case.
drop_tables() {
	local family
	for family in inet netdev; do
		printf 'table %s firmwared_%s\ndelete table %s firmwared_%s\n' "$family" "$FIRMWARED_ID" "$family" "$FIRMWARED_ID"
	done
}

rules() {
	printf 'table inet firmwared_%s {\n' "$FIRMWARED_ID"
	rules_holds
	rules_guard
	((${#PUBLISHED[@]} == 0)) || rules_publish
	rules_source
	printf '}\ntable netdev firmwared_%s {\n' "$FIRMWARED_ID"
	rules_port
	printf '}\n'
}

# rules_holds: an own chain that nothing comes by; what others must know.
rules_holds() {
	local it
	printf 'chain holds {\n'
	for it in "${PUBLISHED[@]}"; do
		printf 'return comment "publish %s"\n' "${it% *}"
	done
	for it in "${UPLINKS[@]}"; do
		printf 'return comment "uplink %s"\n' "$it"
	done
	printf '}\n'
}

# read_holds: what the tables of all instances say. Sets HELD to lines "ID PROTOCOL HOST PORT" of the others, OWN_UPLINKS,
# and OTHERS_UPLINKS, words between blanks.
read_holds() {
	local line list id=''
	list=$(nft list ruleset inet) || return
	while IFS= read -r line; do
		if [[ $line =~ ^table\ inet\ ([^ ]*) ]]; then
			id=${BASH_REMATCH[1]#firmwared_}
		elif [[ $line =~ return\ comment\ \"(publish|uplink)\ ([^\"]*)\" ]]; then
			case ${BASH_REMATCH[1]}/$id in
			uplink/"$FIRMWARED_ID") OWN_UPLINKS+=("${BASH_REMATCH[2]}") ;;
			uplink/*) OTHERS_UPLINKS+="${BASH_REMATCH[2]} " ;;
			publish/"$FIRMWARED_ID") ;;
			publish/*) HELD+=("$id ${BASH_REMATCH[2]}") ;;
			esac
		fi
	done <<<"$list"
}

# find_uplinks: UPLINKS are the interfaces by which packets from elsewhere must be let through to this instance, of those on
# which this machine would not forward but for instances. The switch for the whole machine would open the others,
# too. IPv6 has only that one, and routers' advertisements would no longer be heard: it stays as it is.
find_uplinks() {
	local name names
	names=$(
		[[ $NAT == no ]] || ip -4 -o route show default | sed -n 's/.* dev \([^ ]*\).*/\1/p'
		publish_uplinks
	)
	[[ $NAT == no || -n $names ]] || warn 'nat: this machine has no default route'
	while read -r name; do
		[[ -n $name && $name != lo && $name != fw* ]] || continue
		if [[ $OTHERS_UPLINKS == *" $name "* || " ${OWN_UPLINKS[*]:-} " == *" $name "* ||
			$(<"/proc/sys/net/ipv4/conf/$name/forwarding") == 0 ]]; then
			UPLINKS+=("$name")
		fi
	done < <(sort -u <<<"$names")
}

# rules_guard: the instance speaks to others only as its options say, and nobody to it. With route_localnet a packet from
# it could reach what listens on the machine's 127.0.0.1, but not past "early", where translated replies still have
# their outer address.
rules_guard() {
	cat <<-END
		chain early {
			type filter hook prerouting priority raw
			iifname "$L3" ip daddr 127.0.0.0/8 drop
			iifname "$L3" ip saddr 127.0.0.0/8 drop
		}
		chain forward {
			type filter hook forward priority filter
			ct state established,related accept
			ct status dnat accept
			${BRIDGE:+iifname "$L3" oifname "$L3" accept}
			ip daddr $A drop
			ip saddr $A oifname "fw*" drop
			${A6:+ip6 daddr $A6 drop}
			${A6:+ip6 saddr $A6 oifname "fw*" drop}
	END
	[[ $NAT == yes ]] || printf '%s\n' "ip saddr $A drop" ${A6:+"ip6 saddr $A6 drop"}
	printf '}\n'
	# They would send one member past this machine to the other, whose address may be none on that network.
	[[ -z $BRIDGE ]] || printf '%s\n' 'chain redirects {' 'type filter hook output priority filter' \
		"oifname \"$L3\" icmp type redirect drop" '}'
}

# rules_source: replies must come back through this machine. A fixed address has no way to anybody but its gateway, if
# the firmware so decides, so all that comes to it comes from there.
rules_source() {
	local from="{ 127.0.0.0/8, $A }"
	printf '%s\n' 'chain postrouting {' 'type nat hook postrouting priority srcnat'
	if [[ -n $FIXED ]]; then
		printf '%s\n' "oifname \"$L3\" ip daddr $A masquerade"
	else
		printf '%s\n' "oifname \"$L3\" ip daddr $A ip saddr $from masquerade"
	fi
	[[ -z $A6 ]] || printf '%s\n' "oifname \"$L3\" ip6 daddr $A6 ip6 saddr $A6 masquerade"
	if [[ $NAT == yes ]]; then
		printf '%s\n' "ip saddr $A oifname != \"$L3\" masquerade"
		[[ -z $A6 ]] || printf '%s\n' "ip6 saddr $A6 oifname != \"$L3\" masquerade"
	fi
	printf '}\n'
}

# rules_port: frames to this machine come from the instance's own address. With a fixed one the instance sees itself as FIXED
# and this machine as GATEWAY, which is in the same network, and the machine sees A and HOST: both in IP and in ARP, at the
# door and without a connection table, so any number of instances may have the same address. Frames between members of a
# bridge stay as they are.
rules_port() {
	local inner=${FIXED%/*}
	printf '%s\n' 'chain in {' "type filter hook ingress device \"$PORT\" priority 0"
	if [[ -n $FIXED ]]; then
		printf '%s\n' "arp daddr ip $GATEWAY arp saddr ip $inner arp saddr ip set $A arp daddr ip set $HOST" \
			"ether daddr $HOST_MAC ip saddr $inner ip saddr set $A" "ether daddr $HOST_MAC ip daddr $GATEWAY ip daddr set $HOST"
	fi
	printf '%s\n' "ether daddr $HOST_MAC ip saddr != $A drop"
	[[ -z $A6 ]] || printf '%s\n' "ether daddr $HOST_MAC ip6 saddr != { $A6, fe80::/10 } drop"
	printf '}\n'
	[[ -z $FIXED ]] || printf '%s\n' 'chain out {' "type filter hook egress device \"$PORT\" priority 0" \
		"arp saddr ip $HOST arp saddr ip set $GATEWAY" "arp daddr ip $A arp daddr ip set $inner" \
		"ip saddr $HOST ip saddr set $GATEWAY" "ip daddr $A ip daddr set $inner" '}'
}

# find_gateway: GATEWAY is the first address of FIXED's network, or the second if the first is FIXED.
find_gateway() {
	local bytes prefix=${FIXED#*/} number network
	IFS=. read -ra bytes <<<"${FIXED%/*}"
	number=$((bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3]))
	((prefix <= 30)) || fatal 1 "the fixed address $FIXED needs a prefix of at most /30: its network has the gateway, too"
	network=$((number >> (32 - prefix) << (32 - prefix)))
	((++network != number)) || ((++network))
	GATEWAY=$((network >> 24)).$((network >> 16 & 255)).$((network >> 8 & 255)).$((network & 255))
}

# net_undo: forwarding ends with the last user of an interface. The tables go last: a clean that was killed finds them again.
net_undo() {
	local failed=0 said it HELD=() OWN_UPLINKS=() OTHERS_UPLINKS=' '
	lock
	[[ ! -e $FIRMWARED_STATE/bridge ]] || leave_bridge || failed=1
	[[ -e $FIRMWARED_STATE/rules ]] || return "$failed"
	need_tool nft
	read_holds || return 1
	for it in "${OWN_UPLINKS[@]}"; do
		[[ $OTHERS_UPLINKS == *" $it "* || ! -e /proc/sys/net/ipv4/conf/$it ]] || sysctl ipv4 "$it" forwarding 0
	done
	if said=$(nft -f - <<<"$(drop_tables)" 2>&1); then
		rm -f -- "$FIRMWARED_STATE/rules"
	else
		printf 'cannot remove the rules: %s\n' "${said//$'\n'/ }" >&2
		failed=1
	fi
	return "$failed"
}
