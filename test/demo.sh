#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: test/demo.sh
# What firmwared is for, on real root file systems: a Debian directory and a
# busybox ext2 image, two instances of each at once. Shows that each instance sees its
# own changes only and that the firmwares stay as they were; cleans up. The
# Debian tree is kept in build/demo, so that a second run is quick.

set -euo pipefail
cd "$(dirname "$0")/.."
export PATH=$PATH:/usr/sbin:/sbin

FIRMWARED=$PWD/bin/firmwared
CACHE=$PWD/build/demo
unset "${!FIRMWARED_@}"

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[[ -t 1 ]] || say() { printf '\n== %s\n' "$*"; }

die() {
	printf 'demo: %s\n' "$*" >&2
	exit 1
}

# fw ARG...: shows the command and runs it on the demonstration's own root.
fw() {
	printf '$ firmwared %s\n' "${*@Q}" | sed "s/'\([A-Za-z0-9_.:\/=-]*\)'/\1/g"
	"$FIRMWARED" --root "$ROOT" "$@"
}

# --- preparing ----------------------------------------------------------------

install_tools() {
	local missing=()
	command -v mmdebstrap >/dev/null || command -v debootstrap >/dev/null || missing+=(mmdebstrap)
	command -v mkfs.ext2 >/dev/null || missing+=(e2fsprogs)
	if [[ ! -x /bin/busybox ]] || ldd /bin/busybox >/dev/null 2>&1; then
		missing+=(busybox-static)
	fi
	(( ${#missing[@]} > 0 )) || return 0
	say "Installing ${missing[*]}"
	apt-get update -qq </dev/null
	apt-get install -y -qq --no-install-recommends "${missing[@]}" </dev/null >/dev/null
}

# mirror SUITE: where this machine's own apt gets the suite from.
mirror() {
	# shellcheck disable=SC2016 # apt-get expands it
	apt-get indextargets --format '$(SITE) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' 2>/dev/null |
		awk -v suite="$1" '$2 == suite && $3 == "main" { print $1; exit }'
}

make_debian() {
	local suite site tool=debootstrap
	# shellcheck source=/dev/null
	suite=$(. /etc/os-release && printf '%s' "${VERSION_CODENAME:-}")
	[[ -n $suite ]] || die 'this machine does not say its Debian or Ubuntu release; see /etc/os-release'
	site=$(mirror "$suite")
	[[ -n $site ]] || die "apt of this machine has no source for $suite"
	command -v mmdebstrap >/dev/null && tool=mmdebstrap
	say "Making a minimal $suite root file system with $tool, once"
	mkdir -p "$CACHE"
	rm -rf --one-file-system "$CACHE/new"
	if [[ $tool == mmdebstrap ]]; then
		mmdebstrap --quiet --variant=minbase "$suite" "$CACHE/new" "deb $site $suite main" </dev/null
	else
		debootstrap --variant=minbase "$suite" "$CACHE/new" "$site" </dev/null >"$CACHE/debootstrap.log"
	fi
	mv -T "$CACHE/new" "$CACHE/debian"
}

make_busybox() {
	local tree=$WORK/busybox applet
	mkdir -p "$tree"/{bin,sbin,dev,proc,sys,tmp,etc}
	cp /bin/busybox "$tree/bin"
	for applet in $(/bin/busybox --list); do
		[[ $applet == busybox ]] || ln -s busybox "$tree/bin/$applet"
	done
	ln -s ../bin/busybox "$tree/sbin/init"
	printf '::sysinit:/bin/echo busybox init is pid 1\n::respawn:/bin/sleep 3600\n' >"$tree/etc/inittab"
	mkfs.ext2 -q -d "$tree" "$WORK/busybox.ext2" 16M >/dev/null
}

# tree_sum DIR: of all names, owners, modes, times and contents.
tree_sum() {
	tar -C "$1" --sort=name --numeric-owner --format=posix --pax-option=delete=atime,delete=ctime -cf - . | sha256sum
}

# --- showing ------------------------------------------------------------------

# show_pair FIRMWARE NAME COMMAND...: two at once, each writes its own name into its
# /etc/who. COMMAND is what they run.
show_pair() {
	local firmware=$1 name=$2 other=$1-two one=$1-one it
	shift 2
	say "Two instances of $name at once"
	fw prepare "$firmware" --name "$one"
	fw prepare "$firmware" --name "$other"
	fw start "$one" "$other" -- "$@"
	for it in "$one" "$other"; do
		wait_for "$it"
	done
	fw list
	for it in "$one" "$other"; do
		printf '%s sees /etc/who: ' "$it"
		cat "$(union "$it")/etc/who"
		[[ $(cat "$(union "$it")/etc/who") == "$it" ]] || die "$it does not see its own change"
	done
}

union() { printf '%s/union\n' "$("$FIRMWARED" --root "$ROOT" get "$1" workspace)"; }

# wait_for INSTANCE: until it has written its name.
wait_for() {
	local tries
	for ((tries = 0; tries < 200; tries++)); do
		[[ ! -s $(union "$1")/etc/who ]] || return 0
		sleep 0.05
	done
	"$FIRMWARED" --root "$ROOT" logs "$1" >&2 || true
	die "$1 did not come up in 10 s"
}

clean_up() {
	local status=$?
	trap - EXIT INT TERM
	if [[ -n ${ROOT:-} && -d $ROOT ]]; then
		"$FIRMWARED" --root "$ROOT" drop --all --force >/dev/null || status=1
		local id
		for id in debian busybox; do
			"$FIRMWARED" --root "$ROOT" firmware remove "$id" >/dev/null 2>&1 || true
		done
		if grep -qF " $ROOT" /proc/self/mountinfo; then
			printf 'demo: still mounted, so not deleted: %s\n' "$WORK" >&2
			exit 1
		fi
		rm -rf --one-file-system "$WORK"
	fi
	exit "$status"
}

# --- main ---------------------------------------------------------------------

(( EUID == 0 )) || die 'must be root: run it with sudo'
[[ -x $FIRMWARED ]] || die 'run make first'

install_tools
[[ -d $CACHE/debian ]] || make_debian

WORK=$(mktemp -d "${TMPDIR:-/var/tmp}/firmwared-demo.XXXXXX")
ROOT=$WORK/root
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir "$ROOT"

say 'The firmwares: a Debian directory and a busybox ext2 image'
make_busybox
debian_before=$(tree_sum "$CACHE/debian")
busybox_before=$(sha256sum <"$WORK/busybox.ext2")
fw firmware add "$CACHE/debian" --name debian
fw firmware add "$WORK/busybox.ext2" --name busybox
fw firmware list

# shellcheck disable=SC2016 # the instance's shell is to expand it
note='hostname >/etc/who; exec sleep 3600'
show_pair debian Debian /bin/sh -c "$note"
show_pair busybox 'the busybox image' /bin/sh -c "$note"

say 'What one of them changed; then all of them killed'
find "$("$FIRMWARED" --root "$ROOT" get debian-one workspace)/rw" -mindepth 1 -printf '%y %P\n'
fw kill --all
fw list

say "A firmware's own init as pid 1, then a command whose exit status comes back"
fw start busybox-one
for ((tries = 0; tries < 200; tries++)); do
	[[ $("$FIRMWARED" --root "$ROOT" logs busybox-one) != *'pid 1'* ]] || break
	sleep 0.05
done
fw logs busybox-one
fw kill busybox-one
status=0
# shellcheck disable=SC2016 # the instance's shell is to expand it
fw run debian --rm -- /bin/sh -c '. /etc/os-release; echo "pid $$ runs $PRETTY_NAME"; exit 7' || status=$?
printf 'exit status %d\n' "$status"
(( status == 7 )) || die 'the exit status was not passed on'

say 'Cleaning up; the firmwares are as they were'
fw drop --all
fw firmware remove debian
fw firmware remove busybox
[[ $(tree_sum "$CACHE/debian") == "$debian_before" ]] || die 'the Debian directory changed'
[[ $(sha256sum <"$WORK/busybox.ext2") == "$busybox_before" ]] || die 'the image changed'
printf 'checksums of both firmwares: unchanged\n'
