#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# A right hook for networks in plain sh: a veth pair with addresses. Each broken hook sources it, breaks one function, and ends
# in `hook`, as those of good.sh do.

fatal() { # STATUS MESSAGE
	printf '%s\n' "$2" >&2
	exit "$1"
}

# need NAME...: exit 2 with all those names that are missing or empty.
need() {
	missing=
	for name in API ACTION "$@"; do
		eval "value=\${FIRMWARED_$name:-}"
		[ -n "$value" ] || missing="$missing FIRMWARED_$name"
	done
	[ -z "$missing" ] || fatal 2 "missing variables:$missing"
	[ "$FIRMWARED_API" = 1 ] || fatal 2 "FIRMWARED_API is $FIRMWARED_API, this hook speaks 1"
}

inside() { nsenter --net="$FIRMWARED_NETNS" "$@"; }

create() { ip link add "$FIRMWARED_NET_HOST_IF" type veth peer name "$FIRMWARED_NET_IF" netns "$FIRMWARED_NETNS"; }

configure() {
	outer && inner
}

outer() {
	ip addr add "$FIRMWARED_NET_HOST_ADDRESS" dev "$FIRMWARED_NET_HOST_IF" && ip link set "$FIRMWARED_NET_HOST_IF" up
}

inner() {
	inside ip addr add "$FIRMWARED_NET_ADDRESS" dev "$FIRMWARED_NET_IF" && inside ip link set "$FIRMWARED_NET_IF" up
}

# clean: an end outside also goes by itself, a moment after the namespace. So do first, and ask then.
clean() {
	ip link del "fw$FIRMWARED_ID" 2>/dev/null || ! ip link show "fw$FIRMWARED_ID" >/dev/null 2>&1
}

hook() {
	case ${FIRMWARED_ACTION:-}/${FIRMWARED_LAYER:-} in
	describe/*) need && printf '%s\n' api=1 layers=net 'summary=a hook to test the conformance kit with' 'requires=tool:ip tool:nsenter' ;;
	create/net) need ID NETNS NET_IF NET_HOST_IF && create ;;
	configure/net) need ID NETNS NET_IF NET_HOST_IF NET_ADDRESS NET_HOST_ADDRESS && configure ;;
	clean/net) need ID && clean ;;
	*) need && fatal 3 "not supported: $FIRMWARED_ACTION of ${FIRMWARED_LAYER:-nothing}" ;;
	esac
}
