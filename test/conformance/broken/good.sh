#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# shellcheck disable=SC2034 # names that the hooks read
#
# A right hook in plain sh: directories by a bind, ext images by a loop device that is kept on record, overlayfs.
# Each broken hook sources it, breaks one thing, and ends in `hook`:
#
#	. "${0%/*}/good.sh"
#	probe() { exit 0; }
#	hook
#
# What is here to be broken: the variables layers, options, remount and extra (lines for describe), and each function.

layers=lower
options=ro,nodev
remount=live
extra=

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
	speaks
}

speaks() { [ "$FIRMWARED_API" = 1 ] || fatal 2 "FIRMWARED_API is $FIRMWARED_API, this hook speaks 1"; }

has() { # LAYER
	case " $layers " in
	*" $1 "*) ;;
	*) fatal 3 "no such layer here: $1" ;;
	esac
}

describe() {
	printf 'api=1\nlayers=%s\nsummary=a hook to test the conformance kit with\n' "$layers"
	printf 'requires=tool:mount tool:umount tool:findmnt tool:losetup\n'
	case $layers in *union*) printf 'remount=%s\n' "$remount" ;; esac
	[ -z "$extra" ] || printf '%s\n' "$extra"
}

# --- lower ---------------------------------------------------------------------

probe() {
	[ -d "$FIRMWARED_FIRMWARE" ] || [ "$(magic)" = 53ef ] || exit 3
}

# magic: of an ext image.
magic() { [ -f "$FIRMWARED_FIRMWARE" ] && od -An -v -tx1 -j1080 -N2 -- "$FIRMWARED_FIRMWARE" 2>/dev/null | tr -d ' \n'; }

lower_mount() {
	if [ -d "$FIRMWARED_FIRMWARE" ]; then
		bind
	else
		attach && { image || { detach; return 1; }; }
	fi
}

bind() { mount --bind --make-private -o "$options" -- "$FIRMWARED_FIRMWARE" "$FIRMWARED_RO"; }
image() { mount -t ext4 -o "$options,noload" -- "$LOOP" "$FIRMWARED_RO"; }

lower_unmount() {
	release "$FIRMWARED_RO"
	detach
}

# release DIR: umount(8) has one status for "busy" and for "not mounted".
release() {
	said=$(umount -- "$1" 2>&1) || ! findmnt -n -M "$1" >/dev/null || busy "$said"
}

busy() { fatal 5 "$1"; }

# attach: sets LOOP to a device on the firmware, and has it on record before it is. Who loses the race for a number
# tries again.
attach() {
	try=0
	while [ "$try" -lt 20 ]; do
		LOOP=$(losetup -f)
		record
		said=$(losetup -r "$LOOP" "$FIRMWARED_FIRMWARE" 2>&1) && return 0
		rm -f "$FIRMWARED_STATE/loop"
		[ -r "$FIRMWARED_FIRMWARE" ] || break # whoever was faster may be gone already: only this tells
		try=$((try + 1))
	done
	fatal 1 "cannot attach a loop device: $said"
}

record() {
	printf '%s\n%s\n' "$LOOP" "$(stat -Lc '%Hd:%Ld %i' -- "$FIRMWARED_FIRMWARE")" >"$FIRMWARED_STATE/loop"
}

# detach: only what is on record and still stands on the same file, under whatever name.
detach() {
	[ -s "$FIRMWARED_STATE/loop" ] || return 0
	{ read -r LOOP && read -r file; } <"$FIRMWARED_STATE/loop" || return 0 # killed while writing it: nothing was attached
	if same_file; then
		losetup -d "$LOOP" || return 1
	fi
	rm -f "$FIRMWARED_STATE/loop"
}

same_file() {
	# shellcheck disable=SC2046 # two words, with blanks around them
	set -- $(losetup -n -O BACK-MAJ:MIN,BACK-INO "$LOOP" 2>/dev/null)
	[ "$*" = "$file" ]
}

# --- union ---------------------------------------------------------------------

union_mount() {
	overlay "lowerdir=$FIRMWARED_LOWERDIR,upperdir=$FIRMWARED_RW,workdir=$FIRMWARED_WORKDIR"
}

# overlay LAYERS
overlay() {
	LIBMOUNT_FORCE_MOUNT2=always mount -t overlay \
		-o "nodev,redirect_dir=off,metacopy=off,index=off,nfs_export=off,xino=off,$1" firmwared "$FIRMWARED_UNION"
}

# union_remount: only mount(2) takes this; the newer calls, and mount(8) from 2.39 on with them, refuse it.
union_remount() {
	[ "$remount" = live ] || fatal 3 'remount is not supported'
	LIBMOUNT_FORCE_MOUNT2=always mount -i -t overlay -o remount,nodev firmwared "$FIRMWARED_UNION"
}

union_unmount() { release "$FIRMWARED_UNION"; }

# --- the frame -----------------------------------------------------------------

hook() {
	case ${FIRMWARED_ACTION:-}/${FIRMWARED_LAYER:-} in
	describe/*) need && describe ;;
	probe/*) has lower && need FIRMWARE && probe ;;
	mount/lower) has lower && need FIRMWARE RO STATE && lower_mount ;;
	unmount/lower) has lower && need RO STATE && lower_unmount ;;
	mount/union) has union && need LOWERDIR RW WORKDIR UNION && union_mount ;;
	remount/union) has union && need UNION && union_remount ;;
	unmount/union) has union && need UNION && union_unmount ;;
	*) need && unknown ;;
	esac
}

unknown() { fatal 3 "not supported: $FIRMWARED_ACTION of ${FIRMWARED_LAYER:-nothing}"; }
