# shellcheck shell=bash disable=SC2153 # net.hook sets what is used
# SPDX-License-Identifier: Apache-2.0
#
# publish.bash: ports of the machine that lead to an instance. net.bash sources it, and its words are used here.
#
# PUBLISHED has a line "PROTOCOL HOST PORT INNER" for each, HOST being an IPv4 or IPv6 address. The kernel translates,
# nothing listens: so a port that is in use is refused here, and one that is taken later by a program is hidden by this.

# parse_publish: an empty HOST is 127.0.0.1; 8080:80 will do for :8080:80.
parse_publish() {
	local entries entry host proto port inner word
	IFS=, read -ra entries <<<"$PUBLISH"
	for entry in "${entries[@]}"; do
		[[ $entry =~ ^((\[[0-9A-Fa-f:.]+\]|[0-9.]*):)?([0-9]{1,5}):([0-9]{1,5})(/(tcp|udp))?$ ]] ||
			fatal 1 "option publish: not HOST:PORT:PORT[/udp]: ${entry@Q}"
		host=${BASH_REMATCH[2]:-127.0.0.1} proto=${BASH_REMATCH[6]:-tcp}
		port=$((10#${BASH_REMATCH[3]})) inner=$((10#${BASH_REMATCH[4]}))
		host=${host#\[} host=${host%\]}
		for word in "$port" "$inner"; do
			((word >= 1 && word <= 65535)) || fatal 1 "option publish: no such port: $word in ${entry@Q}"
		done
		[[ $host != *:* || -n $A6 ]] || fatal 1 "option publish: ${entry@Q}: the instance has no IPv6 address"
		[[ $host == *:* || $host =~ ^[0-9]{1,3}(\.[0-9]{1,3}){3}$ ]] || fatal 1 "option publish: not an address: $host in ${entry@Q}"
		# IPv6 has no route_localnet: the replies are not let in.
		[[ $host != ::1 ]] || fatal 1 "option publish: [::1] cannot be published: take 127.0.0.1, or an address of this machine, in ${entry@Q}"
		PUBLISHED+=("$proto $host $port $inner")
		[[ $host != *:* ]] || host="[$host]"
		[[ $proto == tcp ]] || inner+=/$proto
		REACH+=("reach=$host:$port->$inner")
	done
}

# overlap HOST HOST: a socket for one cannot be where there is one for the other. * is what ss(8) says of a socket for
# both families.
overlap() {
	[[ $1 == "$2" || $1 == '*' || $2 == '*' ]] && return 0
	if [[ $1 == *:* ]]; then
		[[ $2 == *:* && ($1 == :: || $2 == ::) ]]
	else
		[[ $2 != *:* && ($1 == 0.0.0.0 || $2 == 0.0.0.0) ]]
	fi
}

# refuse_taken INDEX: of PUBLISHED: by one before it, by another instance, or by a program that listens.
refuse_taken() {
	local proto host port holder other it
	read -r proto host port _ <<<"${PUBLISHED[$1]}"
	for it in "${PUBLISHED[@]:0:$1}"; do
		read -r -a other <<<"$it"
		[[ "${other[0]} ${other[2]}" != "$proto $port" ]] || ! overlap "$host" "${other[1]}" ||
			fatal 1 "option publish: port $port/$proto is there twice"
	done
	for it in "${HELD[@]}"; do
		holder=${it%% *}
		read -r -a other <<<"${it#* }"
		[[ "${other[0]} ${other[2]}" != "$proto $port" ]] || ! overlap "$host" "${other[1]}" ||
			fatal 1 "cannot publish $host port $port/$proto: it is taken by the instance $holder"
	done
	[[ -n ${LISTENERS+set} ]] || { need_tool ss && LISTENERS=$(ss -Hltun); }
	while read -r -a other; do
		it=${other[4]:-}
		[[ ${other[0]:-} == "$proto" && ${it##*:} == "$port" ]] || continue
		it=${it%:*} it=${it%%%*} it=${it#\[}
		! overlap "$host" "${it%\]}" || fatal 1 "cannot publish $host port $port/$proto: a program on this machine listens there"
	done <<<"$LISTENERS"
}

# rules_publish: connections of this machine come by "output". 127.0.0.1 is translated only there: else whoever is on the
# same network as this machine could send packets to it and be let in.
rules_publish() {
	local it proto host port inner rule here=() there=()
	for it in "${PUBLISHED[@]}"; do
		read -r proto host port inner <<<"$it"
		case $host in
		0.0.0.0) rule='meta nfproto ipv4 fib daddr type local' ;;
		::) rule='meta nfproto ipv6 fib daddr type local' ;;
		*:*) rule="ip6 daddr $host" ;;
		*) rule="ip daddr $host" ;;
		esac
		rule+=" $proto dport $port dnat"
		if [[ $host == *:* ]]; then rule+=" ip6 to [$A6]:$inner"; else rule+=" ip to $A:$inner"; fi
		here+=("$rule")
		[[ $host == 127.* ]] || there+=("$rule")
	done
	printf '%s\n' 'chain output {' 'type nat hook output priority -100' "${here[@]}" '}'
	[[ -z ${there[*]:-} ]] || printf '%s\n' 'chain prerouting {' 'type nat hook prerouting priority dstnat' "${there[@]}" '}'
}

# publish_uplinks: prints the interfaces by which published ports are to be reached from elsewhere.
publish_uplinks() {
	local it host name
	for it in "${PUBLISHED[@]}"; do
		read -r _ host _ <<<"$it"
		case $host in
		127.*) ;;
		*:*)
			[[ $(</proc/sys/net/ipv6/conf/all/forwarding) == 1 ]] ||
				warn "this machine does not forward IPv6: the published port of $host can be reached from itself alone"
			;;
		0.0.0.0) ip -4 -o address show up | while read -r _ name _; do printf '%s\n' "$name"; done ;;
		*)
			name=$(ip -4 -o address show to "$host")
			[[ -n $name ]] || fatal 1 "option publish: this machine has no address $host"
			read -r _ name _ <<<"$name"
			printf '%s\n' "$name"
			;;
		esac
	done
}
