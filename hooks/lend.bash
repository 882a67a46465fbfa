# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# lend.bash: interfaces of the machine that an instance has for the time of a run. net.hook sources it, and its words are
# used here.
#
# FIRMWARED_NET_LEASES/NAME is the lease of the interface (or Wi-Fi phy) NAME, and is complete before anything is moved:
#	id=, kind=link|phy     whose it is, and what
#	mac=                   the address that it was made with, by which it is found again under any name
#	index=, inside=        its number here, and in the instance's namespace: the instance can change names and
#	                       addresses, but not that
#	address=, addrgenmode=, up=, ip=...  what to bring back
# When a namespace ends, the kernel puts hardware back into the first one, with the name that it had inside, or devN if that is taken
# (default_device_exit_net, net/core/dev.c); what is no hardware ends with it.

lend_all() {
	local entries entry iface name cidr
	IFS=, read -ra entries <<<"$FIRMWARED_OPT_LEND"
	for entry in "${entries[@]}"; do
		IFS=: read -r iface name cidr <<<"$entry"
		if [[ $iface =~ ^phy[0-9]+$ ]]; then
			[[ -z $name$cidr ]] || fatal 1 "option lend: a phy brings its own names and has no address: $entry"
			lend_phy "$iface"
		else
			lend_link "$iface" "${name:-$iface}" "$cidr"
		fi
	done
}

# make_lease NAME TEXT: a link to a complete file: whoever comes second fails.
make_lease() {
	local lease=$FIRMWARED_NET_LEASES/$1 new=$FIRMWARED_NET_LEASES/.$FIRMWARED_ID
	printf 'id=%s\n%s\n' "$FIRMWARED_ID" "$2" >"$new"
	ln -T -- "$new" "$lease" 2>/dev/null || {
		rm -f -- "$new"
		taken_by "$1"
	}
	rm -f -- "$new"
}

# taken_by NAME: says why it cannot be had.
taken_by() {
	[[ ! -e $FIRMWARED_NET_LEASES/$1 ]] ||
		fatal 1 "cannot lend $1: it is lent to the instance $(sed -n 's/^id=//p' "$FIRMWARED_NET_LEASES/$1")"
	fatal 1 "cannot lend $1: there is no such interface on this machine now"
}

# field NAME LINE: prints the word after NAME in a line of ip(8).
field() { [[ $2 =~ (^|[[:space:]])$1[[:space:]]+([^[:space:]]+) ]] && printf '%s' "${BASH_REMATCH[2]}"; }

lend_link() { # INTERFACE NAME CIDR
	local iface=$1 name=$2 cidr=$3 line up=no said
	plain_name "$iface"
	plain_name "$name"
	[[ -z $cidr || $cidr =~ ^[0-9A-Fa-f.:]+/[0-9]+$ ]] || fatal 1 "option lend: not an address with a prefix: ${cidr@Q}"
	[[ $iface != lo && $iface != fw* ]] || fatal 1 "cannot lend $iface: it is firmwared's or the machine's own"
	line=$(ip -d -o link show dev "$iface" 2>/dev/null) || taken_by "$iface"
	[[ ! $line =~ [\<,]UP[,\>] ]] || up=yes
	make_lease "$iface" "kind=link
mac=$(hardware_address "$line")
index=${line%%:*}
hardware=$(field parentdev "$line" || :)
addrgenmode=$(field addrgenmode "$line" || :)
address=$(soft_address "$line")
up=$up
$(ip -o address show dev "$iface" | sed -nE '/ scope link /d; s/.* inet6? ([^ ]+) (brd [^ ]+ )?.*/ip=\1 \2/p')"
	said=$(ip link set dev "$iface" netns "$FIRMWARED_NETNS" name "$name" 2>&1) ||
		fatal 1 "cannot lend $iface as $name: ${said//$'\n'/ }"
	line=$(inside ip -o link show dev "$name")
	printf 'inside=%s\n' "${line%%:*}" >>"$FIRMWARED_NET_LEASES/$iface"
	BATCH="link set $name up"
	[[ -z $cidr ]] || BATCH="address add $cidr dev $name"$'\n'$BATCH
	ip_batch inside
}

# Of a line of ip -o link: the address it was made with, which is told only if it has another one now; the present one.
hardware_address() { field permaddr "$1" || soft_address "$1"; }
soft_address() { [[ $1 =~ link/[a-z0-9]+\ ([0-9a-f:]+) ]] && printf '%s' "${BASH_REMATCH[1]}"; }

lend_phy() {
	local index said
	need_tool iw
	index=$(phy_index "$1")
	[[ $index ]] || taken_by "$1"
	make_lease "$1" "kind=phy
index=$index"
	said=$(iw "phy#$index" set netns name "$FIRMWARED_NETNS" 2>&1) || fatal 1 "cannot lend $1: ${said//$'\n'/ }"
}

# phy_index NAME: nothing without one. The kernel is asked: by a name iw looks into /sys, which may be another
# namespace's.
phy_index() {
	local word name index current=''
	while read -r word name index; do
		case $word in
		Wiphy) current=$name ;;
		wiphy) [[ $current != "$1" ]] || printf '%s' "$index" ;;
		esac
	done < <(iw phy 2>/dev/null)
}

# --- giving back ---------------------------------------------------------------------------------------------------

# give_back_all: all leases of this instance.
give_back_all() {
	local file failed=0
	rm -f -- "$FIRMWARED_NET_LEASES/.$FIRMWARED_ID"
	for file in "$FIRMWARED_NET_LEASES"/*; do
		declare -A LEASE=()
		read_lease "$file"
		[[ ${LEASE[id]:-} == "$FIRMWARED_ID" ]] || continue
		if [[ ${LEASE[kind]:-} == phy ]]; then
			give_back_phy "${file##*/}"
		else
			give_back_link "${file##*/}"
		fi && rm -f -- "$file" || failed=1
	done
	return "$failed"
}

read_lease() { # sets LEASE and ADDRESSES
	local key value
	ADDRESSES=()
	while IFS='=' read -r key value; do
		case $key in
		'') ;;
		ip) ADDRESSES+=("$value") ;;
		*) LEASE[$key]=$value ;;
		esac
	done <"$1"
}

have_namespace() { [[ -n ${FIRMWARED_NETNS:-} && -e $FIRMWARED_NETNS ]]; }

# give_back_phy: a namespace that has ended has given it back itself. $$ is in the machine's.
give_back_phy() {
	local phy=("phy" "$1") said
	have_namespace || return 0
	need_tool iw
	[[ -z ${LEASE[index]:-} ]] || phy=("phy#${LEASE[index]}")
	if said=$(inside iw "${phy[@]}" set netns "$$" 2>&1); then
		[[ $(phy_index "$1") ]] || iw "${phy[@]}" set name "$1" || warn "$1 is back under another name"
		return 0
	fi
	! iw "${phy[@]}" info >/dev/null 2>&1 || return 0 # it never went
	printf 'cannot give back %s: %s\n' "$1" "${said//$'\n'/ }" >&2
	return 1
}

give_back_link() { # INTERFACE
	local iface=$1 NOW='' said
	if have_namespace && find_inside; then
		said=$(inside ip link set dev "$NOW" down 2>&1 && inside ip link set dev "$NOW" netns "$$" name "$iface" 2>&1) || {
			printf 'cannot give back %s: %s\n' "$iface" "${said//$'\n'/ }" >&2
			return 1
		}
		NOW=$iface
	else
		find_here "$iface" || {
			warn "the interface $iface, which was lent, is gone"
			return 0
		}
	fi
	restore_link "$iface"
}

# find_inside: sets NOW to the name it has in the namespace. A lease without a number was left by a hook that was
# killed before anything ran there, so the address is still its own.
find_inside() {
	local line
	while IFS= read -r line; do
		if [[ -n ${LEASE[inside]:-} ]]; then
			[[ ${line%%:*} == "${LEASE[inside]}" ]] || continue
		else
			[[ $(hardware_address "$line") == "${LEASE[mac]:-}" ]] || continue
		fi
		name_in "$line" inside
		return 0
	done < <(inside ip -o link show)
	return 1
}

# name_in LINE [WRAPPER]: sets NOW. ip(8) adds "@OTHER" to some names, and a name may have an @ of its own.
name_in() {
	NOW=${1#*: }
	NOW=${NOW%%: <*}
	"${@:2}" ip link show dev "$NOW" >/dev/null 2>&1 || NOW=${NOW%@*}
}

# find_here INTERFACE: sets NOW to the name that it has on the machine. The address alone will not do: a bridge or a VLAN has
# that of an interface below it. The kernel ends a namespace when it has the time: hardware is waited for.
find_here() {
	local line best score try
	for ((try = 0; try < 30; try++)); do
		best=-1
		while IFS= read -r line; do
			[[ $(hardware_address "$line") == "${LEASE[mac]:-}" ]] || continue
			score=1
			[[ $line != *@* ]] || score=0
			[[ $line != *" permaddr "* ]] || score=2
			[[ ${line%%:*} != "${LEASE[index]:-}" ]] || score=3
			[[ $line != *": $1: <"* && $line != *": $1@"* ]] || score=4
			((score > best)) || continue
			best=$score
			name_in "$line"
		done < <(ip -o link show)
		((best < 0)) || return 0
		[[ -n ${LEASE[hardware]:-} ]] || return 1
		read -r -t 0.1 <> <(:) || :
	done
	return 1
}

# restore_link INTERFACE: name, hardware address, addresses, and whether it is up. udev may be at work on it as well.
restore_link() {
	local iface=$1 said it
	BATCH="link set dev $NOW down"
	[[ $NOW == "$iface" ]] || BATCH+=$'\n'"link set dev $NOW name $iface"
	[[ -z ${LEASE[address]:-} ]] || BATCH+=$'\n'"link set dev $iface address ${LEASE[address]}"
	[[ -z ${LEASE[addrgenmode]:-} ]] || BATCH+=$'\n'"link set dev $iface addrgenmode ${LEASE[addrgenmode]}"
	[[ ${LEASE[up]:-} != yes ]] || BATCH+=$'\n'"link set dev $iface up"
	for it in "${ADDRESSES[@]}"; do
		[[ $it != *:* ]] || it+=' nodad'
		BATCH+=$'\n'"address replace $it dev $iface"
	done
	said=$(ip -batch - <<<"$BATCH" 2>&1) && return
	printf 'cannot bring %s back to what it was: %s\n' "$iface" "${said//$'\n'/ }" >&2
	return 1
}
