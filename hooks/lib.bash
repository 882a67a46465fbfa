# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# lib.bash: what every hook would write again. A hook sources it, sets variables, defines functions and ends with
# firmwared_hook:
#
#	#!/bin/bash
#	. "${FIRMWARED_LIB:-no FIRMWARED_LIB}/lib.bash" || exit 2
#	HOOK_SUMMARY='one line'          what describe says; all but the summary may be left out
#	HOOK_FORMATS='word...'
#	HOOK_REQUIRES='tool:T fs:F...'   looked at before each mount as well: exit 4 names what is missing
#	HOOK_OPTIONS='key...'            their values come as FIRMWARED_OPT_<KEY>
#	HOOK_MAGIC='OFFSET:HEX...'       and there needs to be no probe function
#	HOOK_DIRECTORY=none              no directory is its own (or all): it is not asked about one
#	HOOK_VARS='FIRMWARED_NAME...'    what a mount uses besides those that each has: 2 without
#	HOOK_DAEMON=yes                  processes may stay until the unmount
#	probe() { ...; }                 true: mine
#	lower_mount() { ...; }           or union_mount
#	lower_unmount() { ...; }         or union_unmount; default: unmount the mount point, detach the loop devices
#	union_remount() { ...; }         only if the file system can
#	pack() { ...; }                  only if it can make an image; progress DONE TOTAL tells how far it got
#	HOOK_SCHEMES='scheme...'         of URLs, with
#	fetch() { ...; }                 progress as with pack; unpack() is there for gz, xz and zst
#	verify() { ...; }                true: the signature is right
#	net_create() { ...; }            a network instead of mounts; with it net_configure, where announce KEY VALUE tells what
#	net_clean() { ...; }             the hook decided itself
#	firmwared_hook
#
# mount functions, pack, fetch and unpack run under set -e: the first command that fails ends them, the unmount function is
# called after a mount, and the status is 1. A status of their own they give by exit. In unmount functions a command that fails is remembered, the
# others still run, and the status is 1, or 5 if unmount_at found something busy. Standard output goes to stderr.
# Nothing here reads the mount table unless an unmount failed, sleeps, unmounts lazily, or deletes other than its own
# records in FIRMWARED_STATE.

set -Eeuo pipefail

HOOK_STATUS=0 # of an unmount: what it will exit with

# --- saying things -------------------------------------------------------------------------------------------------

info() { [[ ${FIRMWARED_VERBOSE:-n} != y ]] || printf '%s\n' "$*" >&2; }
warn() { printf 'warning: %s\n' "$*" >&2; }

# fatal [-CODE] MESSAGE: the last line that firmwared shows, and the end. Without a code it is 1.
fatal() {
	local code=1
	if [[ $1 == -[0-9] ]]; then
		code=${1#-}
		shift
	fi
	printf '%s\n' "$*" >&2
	exit "$code"
}

# --- what a hook needs ---------------------------------------------------------------------------------------------

# need_var NAME...: exit 2 with the names of all that are missing or empty.
need_var() {
	local name missing=()
	for name; do
		[[ -n ${!name:-} ]] || missing+=("$name")
	done
	[[ -z ${missing[*]:-} ]] || fatal -2 "missing variables: ${missing[*]}"
}

# need WORD...: exit 4 with all the words that this machine lacks; the words are those of HOOK_REQUIRES.
# tool:NAME a program in PATH, fs:NAME a file system of the kernel, dm:NAME a device-mapper target, dev:NAME a
# device node. Modules are loaded on the way. A kind that is not known is somebody else's.
need() {
	local word missing=()
	for word; do
		case $word in
		tool:*) type -P "${word#*:}" >/dev/null ;;
		fs:*) kernel_has "${word#*:}" load ;;
		dm:*) dm_has "${word#*:}" ;;
		dev:*) [[ -e /dev/${word#*:} ]] ;;
		esac || missing+=("$word")
	done
	[[ -z ${missing[*]:-} ]] || fatal -4 "missing here: ${missing[*]}"
}
need_tool() { need "${@/#/tool:}"; }
need_fs() { need "${@/#/fs:}"; }

# kernel_has TYPE [load]: the kernel has this file system, or a module for it; load: and loads it.
kernel_has() {
	local flag name
	while read -r flag name; do
		[[ ${name:-$flag} != "$1" ]] || return 0
	done </proc/filesystems
	type -P modprobe >/dev/null || return 1
	if [[ ${2:-} == load ]]; then
		modprobe -q -- "fs-$1" 2>/dev/null || modprobe -q -- "$1" 2>/dev/null
	else
		modprobe -q -n -- "fs-$1" 2>/dev/null
	fi
}

# dm_has TARGET: a built-in target without parameters leaves no trace but in dmsetup's list.
dm_has() {
	modprobe -q -- "dm-$1" 2>/dev/null || :
	[[ -e /sys/class/misc/device-mapper ]] || return 1
	[[ -e /sys/module/dm_$1 ]] || dmsetup targets 2>/dev/null | grep -q -- "^$1 "
}

# --- looking at images ---------------------------------------------------------------------------------------------

# read_hex OFFSET COUNT [FILE]: sets HEX to these bytes of the firmware, lower case; false where it ends before.
read_hex() {
	HEX=$(od -A n -v -t x1 -j "$1" -N "$2" -- "${3:-$FIRMWARED_FIRMWARE}" 2>/dev/null) || return 1
	HEX=${HEX//[[:space:]]/}
	((${#HEX} == 2 * $2))
}

# has_magic OFFSET:HEX...: the firmware is a file with one of these in it; HEX in lower case.
has_magic() {
	local magic hex HEX
	[[ -f $FIRMWARED_FIRMWARE ]] || return 1
	for magic; do
		hex=${magic#*:}
		read_hex "${magic%%:*}" $((${#hex} / 2)) && [[ $HEX == "$hex" ]] && return 0
	done
	return 1
}

# --- downloads -----------------------------------------------------------------------------------------------------

# limited COMMAND...: no file that it writes passes FIRMWARED_MAX by a KiB; it gets EFBIG there.
limited() (
	trap '' XFSZ
	ulimit -f $((FIRMWARED_MAX / 1024 + 1))
	exec "$@"
)

# hook_explain_write FILE [SAID]: why it could not be written to, if that is known; SAID is what its writer said. Behind a
# hole the file is still small when it gets too large.
hook_explain_write() {
	local size room
	size=$(stat -c %s -- "$1")
	if [[ ${2:-} == *'File too large'* ]] || ((size >= FIRMWARED_MAX)); then
		fatal "it has more than the $FIRMWARED_MAX bytes that are allowed: raise fetch_max"
	fi
	room=$(df --output=avail -B1 -- "${1%/*}" | tail -n 1)
	((room > 1 << 20)) || fatal "no space left on the file system of ${1%/*}"
}

# unpack: the default, for what is compressed with gzip, xz or zstd; the first bytes tell. None of them may take more
# than a GiB of memory, whatever the file asks for.
unpack() {
	local tool=() said HEX=''
	read_hex 0 6 "$FIRMWARED_FILE" || :
	case $HEX in
	1f8b08*) tool=(gzip -dc) ;;
	fd377a585a00) tool=(xz -dc --memlimit-decompress=1GiB) ;;
	28b52ffd*) tool=(zstd -dcq --memory=1024MB --sparse) ;;
	*) exit 3 ;;
	esac
	need_tool "${tool[0]}"
	# shellcheck disable=SC2094 # it is the output that is looked at
	said=$(limited "${tool[@]}" <"$FIRMWARED_FILE" 2>&1 >"$FIRMWARED_OUTPUT") && return
	hook_explain_write "$FIRMWARED_OUTPUT" "$said"
	fatal "cannot unpack it: ${said:-${tool[0]} failed}"
}

# --- mounting ------------------------------------------------------------------------------------------------------

# mount_image TYPE [OPTIONS [SOURCE]]: mounts the firmware, or SOURCE, read-only at ro, with what makes TYPE safe there.
# The image's own device nodes shall not act, its setuid programs shall: nodev, and no nosuid. A file gets a loop
# device that goes by itself with the mount.
mount_image() {
	local type=$1 options="ro,nodev${2:+,$2}" source=${3:-$FIRMWARED_FIRMWARE}
	[[ -b $source ]] || options+=',loop'
	case $type in
	ext[234])
		# ext4 reads all three, takes noload (a log cannot be replayed on a read-only device) and can be
		# idmapped. The superblock may ask for a panic on errors; the kernel would, even when read-only.
		type=ext4
		options+=',noload,errors=continue'
		;;
	xfs) options+=',norecovery,nouuid' ;; # a copy of an image has its uuid, too
	btrfs) options+=',rescue=nologreplay' ;;
	esac
	need_fs "$type"
	LC_ALL=C mount -n -i -t "$type" -o "$options" -- "$source" "$FIRMWARED_RO"
}

# unmount_at DIR: nothing is mounted at DIR, or the unmount will exit 5. umount(8) has one status for "busy" and for
# "not mounted", so ask after a failure; mountpoint(1) would be wrong about a root that cannot be read.
unmount_at() {
	LC_ALL=C umount -n -i -q -- "$1" && return 0
	findmnt -n -M "$1" >/dev/null || return 0
	HOOK_STATUS=5
	printf 'still in use: %s\n' "$1" >&2
	return 5
}

# --- loop devices that a mount does not free by itself -------------------------------------------------------------

# loop_attach FILE [LOSETUP-OPTION...]: sets LOOP to a read-only device for FILE. It is on record before it is used, so
# that the unmount finds it even if this shell is killed between the two; whoever loses the race for a number tries again.
loop_attach() {
	local file=$1 record try said
	shift
	need_tool losetup
	for ((try = 0; try < 20; try++)); do
		LOOP=$(losetup -f)
		record=$FIRMWARED_STATE/${LOOP##*/}
		printf '%s\0' "$LOOP" "$file" >"$record"
		if said=$(losetup -r "$@" "$LOOP" "$file" 2>&1); then
			printf '%s\0' "$(losetup -n -O BACK-MAJ:MIN,BACK-INO "$LOOP")" >>"$record"
			return 0
		fi
		rm -f -- "$record"
		[[ -r $file ]] || break # whoever was faster may have gone already, so the device tells nothing
	done
	fatal "cannot attach $file to a loop device: $said"
}

# loop_is DEVICE FILE IDENTITY: the device still stands on that file. The kernel shows a file that was replaced as
# "NAME (deleted)" and one that was renamed with its new name, so ask for the inode if the name says no.
loop_is() {
	local file
	IFS= read -r -d '' file <"/sys/block/${1##*/}/loop/backing_file" || :
	file=${file%$'\n'}
	[[ $file == "$2" || $file == "$2 (deleted)" ]] && return 0
	[[ -n $3 && $(losetup -n -O BACK-MAJ:MIN,BACK-INO "$1") == "$3" ]]
}

# loop_detach: lets go of all that loop_attach has on record. losetup -d of a device that somebody has open makes the
# kernel do it at the last close (LOOP_CLR_FD, drivers/block/loop.c): nothing is left behind either way.
loop_detach() {
	local record device file identity failed=0
	for record in "$FIRMWARED_STATE"/loop*; do
		[[ -f $record ]] || continue
		device='' file='' identity=''
		{
			IFS= read -r -d '' device && IFS= read -r -d '' file && IFS= read -r -d '' identity
		} <"$record" || :
		if [[ -e /sys/block/${device##*/}/loop/backing_file ]] && loop_is "$device" "$file" "$identity"; then
			losetup -d "$device" || { failed=1 && continue; }
		fi
		rm -f -- "$record"
	done
	return "$failed"
}

# --- the frame -----------------------------------------------------------------------------------------------------

# hook_default_unmount DIR: devices under a mount that stays are in use, and stay.
hook_default_unmount() { unmount_at "$1" && loop_detach; }

hook_describe() {
	local word layers=''
	! declare -F lower_mount >/dev/null || layers+=' lower'
	! declare -F union_mount >/dev/null || layers+=' union'
	! declare -F net_create >/dev/null || layers+=' net'
	! declare -F fetch >/dev/null || layers+=' fetch'
	! declare -F verify >/dev/null || layers+=' verify'
	printf 'api=1\nlayers=%s\nsummary=%s\n' "${layers# }" "${HOOK_SUMMARY:-}"
	[[ -z ${HOOK_FORMATS:-} ]] || printf 'formats=%s\n' "$HOOK_FORMATS"
	[[ -z ${HOOK_REQUIRES:-} ]] || printf 'requires=%s\n' "$HOOK_REQUIRES"
	[[ -z ${HOOK_OPTIONS:-} ]] || printf 'option=%s\n' "$HOOK_OPTIONS"
	[[ -z ${HOOK_DIRECTORY:-} ]] || printf 'directory=%s\n' "$HOOK_DIRECTORY"
	for word in ${HOOK_MAGIC:-}; do
		printf 'magic=%s\n' "$word"
	done
	if declare -F union_mount >/dev/null; then
		declare -F union_remount >/dev/null && word=live || word=none
		printf 'remount=%s\n' "$word"
	fi
	! declare -F pack >/dev/null || printf 'pack=yes\n'
	[[ -z ${HOOK_SCHEMES:-} ]] || printf 'schemes=%s\n' "$HOOK_SCHEMES"
	if [[ ${HOOK_DAEMON:-no} == yes ]]; then
		printf 'daemon=yes\n'
	elif [[ $layers == *lower* || $layers == *union* ]] && ! declare -F lower_unmount >/dev/null && ! declare -F union_unmount >/dev/null; then
		printf 'unmount=plain\n' # what hook_default_unmount does when there is nothing on record
	fi
}

hook_probe() {
	if declare -F probe >/dev/null; then
		probe && exit 0
	else
		# shellcheck disable=SC2086 # words
		has_magic ${HOOK_MAGIC:-} && exit 0
	fi
	exit 3
}

# hook_mount LAYER POINT: the ERR trap tells a command that failed (status 1, whatever its own was: mount(8) has a 2 and a
# 4 as well) from an exit of the author's.
hook_mount() {
	# shellcheck disable=SC2086 # words
	need ${HOOK_REQUIRES:-}
	declare -g HOOK_LAYER=$1 HOOK_POINT=$2 HOOK_FAILED=0
	trap 'HOOK_FAILED=1' ERR
	trap 'hook_mount_end $?' EXIT
	trap 'exit 1' HUP INT TERM
	"$1_mount"
}

hook_mount_end() {
	local status=$1
	trap - ERR EXIT
	trap '' HUP INT TERM
	set +e
	((status != 0)) || exit 0
	((HOOK_FAILED == 0 && status <= 5)) || status=1
	if declare -F "${HOOK_LAYER}_unmount" >/dev/null; then
		"${HOOK_LAYER}_unmount"
	else
		hook_default_unmount "$HOOK_POINT"
	fi
	exit "$status"
}

hook_unmount() { # LAYER POINT
	set +e
	trap '((HOOK_STATUS)) || HOOK_STATUS=1' ERR
	if declare -F "$1_unmount" >/dev/null; then
		"$1_unmount"
	else
		hook_default_unmount "$2"
	fi
	exit "$HOOK_STATUS"
}

# progress DONE TOTAL: for pack and fetch; their standard output is descriptor 3.
progress() { printf 'progress=%s/%s\n' "$1" "$2" >&3; }

hook_job() { # ACTION
	trap 'exit 1' ERR HUP INT TERM
	"$1"
}

# announce KEY VALUE: for net_configure; its standard output is descriptor 3.
announce() { printf '%s=%s\n' "$1" "$2" >&3; }

# hook_net ACTION: net_create and net_configure end at the first command that fails, and the core calls clean. net_clean goes on.
hook_net() {
	if [[ $1 == clean ]]; then
		set +e
		trap '((HOOK_STATUS)) || HOOK_STATUS=1' ERR
		net_clean
		exit "$HOOK_STATUS"
	fi
	# shellcheck disable=SC2086 # words
	need ${HOOK_REQUIRES:-}
	trap 'exit 1' ERR
	"net_$1"
}

# hook_check: has it all that the call takes, what do the values say, and can this hook do that. Of an action or layer
# that it does not have there is no telling what it would take.
hook_check() {
	local names=(FIRMWARED_API FIRMWARED_ACTION FIRMWARED_LIB) action=${FIRMWARED_ACTION:-} layer=${FIRMWARED_LAYER:-} can=yes
	case $action/$layer in
	/* | describe/*) ;;
	mount/ | remount/ | unmount/ | create/ | configure/ | clean/) names+=(FIRMWARED_LAYER) ;;
	*) hook_can "$action" "$layer" && hook_takes "$action" "$layer" || can='' ;;
	esac
	need_var "${names[@]}"
	[[ $FIRMWARED_API == 1 ]] || fatal -2 "FIRMWARED_API is $FIRMWARED_API, this hook speaks 1"
	[[ -n $can ]] || fatal -3 "not supported: action $action, layer ${layer:-none}"
}

hook_takes() { # ACTION LAYER: adds to names what such a call has in any hook, and what this one asks for
	case $1/$2 in
	probe/*) names+=(FIRMWARED_FIRMWARE) ;;
	pack/*) names+=(FIRMWARED_FIRMWARE FIRMWARED_OUTPUT) ;;
	fetch/*) names+=(FIRMWARED_URL FIRMWARED_OUTPUT FIRMWARED_STATE FIRMWARED_MAX) ;;
	unpack/*) names+=(FIRMWARED_FILE FIRMWARED_OUTPUT FIRMWARED_MAX) ;;
	verify/*) names+=(FIRMWARED_FILE FIRMWARED_SIGNATURE FIRMWARED_KEY FIRMWARED_STATE) ;;
	*/lower) names+=(FIRMWARED_RO FIRMWARED_STATE) ;;
	remount/union) names+=(FIRMWARED_UNION) ;;
	*/union) names+=(FIRMWARED_UNION FIRMWARED_STATE) ;;
	*/net) names+=(FIRMWARED_ID FIRMWARED_STATE FIRMWARED_NET_HOST_IF) ;;
	esac
	# shellcheck disable=SC2206 # words
	case $1/$2 in
	mount/lower) names+=(FIRMWARED_FIRMWARE FIRMWARED_LABEL ${HOOK_VARS:-}) ;;
	create/net) names+=(FIRMWARED_NETNS FIRMWARED_NET_IF ${HOOK_VARS:-}) ;;
	configure/net) names+=(FIRMWARED_NETNS FIRMWARED_NET_IF FIRMWARED_NET_ADDRESS ${HOOK_VARS:-}) ;;
	mount/union) names+=(FIRMWARED_LOWERDIR FIRMWARED_RW FIRMWARED_WORKDIR FIRMWARED_LABEL ${HOOK_VARS:-}) ;;
	esac
}

hook_can() { # ACTION LAYER
	case $1/$2 in
	probe/* | mount/lower | unmount/lower) declare -F lower_mount ;;
	mount/union | unmount/union) declare -F union_mount ;;
	remount/union) declare -F union_remount ;;
	unpack/) declare -F fetch ;; # the default is there for all
	pack/ | fetch/ | verify/) declare -F "$1" ;;
	create/net | configure/net | clean/net) declare -F net_create ;;
	*) return 1 ;;
	esac >/dev/null
}

firmwared_hook() {
	hook_check
	local point=${FIRMWARED_RO:-}
	[[ ${FIRMWARED_LAYER:-} != union ]] || point=${FIRMWARED_UNION:-}
	case $FIRMWARED_ACTION in
	describe) hook_describe ;;
	probe) hook_probe >&2 ;;
	mount) hook_mount "$FIRMWARED_LAYER" "$point" >&2 ;;
	unmount) hook_unmount "$FIRMWARED_LAYER" "$point" >&2 ;;
	remount) union_remount >&2 ;;
	pack | fetch | unpack) hook_job "$FIRMWARED_ACTION" 3>&1 >&2 ;;
	verify) verify >&2 ;;
	create | configure | clean) hook_net "$FIRMWARED_ACTION" 3>&1 >&2 ;;
	esac
	exit
}
