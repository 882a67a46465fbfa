# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034
# Helpers of the bats files that drive the hooks directly, with the environment
# that the contract promises and nothing else.
#
#	load hooks_helpers
#	setup() { hk_setup; }
#	teardown() { hk_teardown; }
#
# hk_setup makes the places that the core would make, below $W: ro, rw, work,
# union, state. hk_teardown fails the test if a mount, a loop device or a process
# of it is left.

load "${BASH_SOURCE[0]%/*}/helpers"

HOOKS=$REPO/hooks
# HK_TOOLS: a directory of other tools, of a newer util-linux say, to try the hooks with.
HOOK_PATH=${HK_TOOLS:+$HK_TOOLS:}/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# ALL_HOOKS: those that mount. net.hook, which does not, is hooks_net.bats'.
ALL_HOOKS=(aufs disk erofs mount squashfs verity)

# Each has something in it that some program on the way takes for its own.
# shellcheck disable=SC1003,SC2016
ODD_NAMES=('with space' ' lead' 'co:lon' 'com,ma' 'back\slash' 'end\' 'quo"te' "apos'trophe" $'new\nline' $'end\n'
	'-dash' '--' 'LABEL=x' '$HOME' '`id`' '*' 'per%cent' $'tab\t' 'über')

hk_setup() {
	(( EUID == 0 )) || fail 'must be root'
	W=$BATS_TEST_TMPDIR/w
	FW_ROOT=$W
	FW_STARTED=$(start_time "$BASHPID")
	FW_BEFORE=$BATS_TEST_TMPDIR/before
	mkdir -p "$W"/{ro,rw,work,union,state}
	snapshot >"$FW_BEFORE"
}

hk_teardown() {
	assert_no_leaks || { clear_leaks && return 1; }
}

# hk NAME ACTION LAYER [VARIABLE=VALUE]...: runs a hook as the core would; sets
# status, output and stderr. LAYER is - for none. NAME is that of a shipped hook
# or a path. A variable given as -VARIABLE is left out.
hk() {
	local name=$1 action=$2 layer=$3 it
	local i # run of bats 1.8 writes to it
	shift 3
	[[ $name == */* ]] || name=$HOOKS/$name.hook
	hk_vars "$action" "$layer"
	for it; do
		[[ $it == -* ]] && unset "vars[${it#-}]" || vars[${it%%=*}]=${it#*=}
	done
	local list=()
	for it in "${!vars[@]}"; do
		list+=("$it=${vars[$it]}")
	done
	run --separate-stderr hk_exec "$name" "${list[@]}"
}

hk_exec() {
	local name=$1
	shift
	cd / && umask 022 && env -i "$@" "$name" </dev/null 3>&-
}

# hk_vars ACTION LAYER: sets vars to all that this call gets.
hk_vars() {
	unset vars
	declare -gA vars=([PATH]=$HOOK_PATH [LC_ALL]=C.UTF-8 [FIRMWARED_API]=1 [FIRMWARED_ACTION]=$1 [FIRMWARED_VERBOSE]=y
		[FIRMWARED_TIMEOUT]=30 [FIRMWARED_LIB]=$HOOKS [FIRMWARED_X_4711]=1)
	[[ $1 != probe ]] || vars[FIRMWARED_FIRMWARE]=$W/source
	[[ $2 != - ]] || return 0
	vars+=([FIRMWARED_LAYER]=$2 [FIRMWARED_ID]=0123456789ab [FIRMWARED_NAME]=some [FIRMWARED_STATE]=$W/state
		[FIRMWARED_LABEL]=firmwared_0123456789ab)
	[[ $1 != unmount ]] || vars[FIRMWARED_REASON]=drop
	if [[ $2 == lower ]]; then
		vars+=([FIRMWARED_FIRMWARE]=$W/source [FIRMWARED_RO]=$W/ro)
	else
		vars+=([FIRMWARED_LOWERDIR]=$W/ro [FIRMWARED_RW]=$W/rw [FIRMWARED_WORKDIR]=$W/work [FIRMWARED_UNION]=$W/union
			[FIRMWARED_CONFINEMENT]=none)
	fi
}

# An assert that is more than one step returns by itself at the first that fails:
# in a list with && or || the shell would go on (errexit is off there).

# hk_is STATUS NAME ACTION LAYER [VARIABLE=VALUE]...: as hk, and fails the test
# on another status, or on output where the contract allows none.
hk_is() {
	local want=$1
	shift
	hk "$@"
	# shellcheck disable=SC2154 # set by run
	(( status == want )) || fail "${*@Q}: status $status instead of $want: $stderr" || return
	[[ $2 == describe || -z $output ]] || fail "${*@Q}: printed $output"
}

# named VARIABLE...: stderr names each of these.
named() {
	local name
	for name; do
		# shellcheck disable=SC2154 # set by run
		[[ $stderr == *"$name"* ]] || fail "stderr does not name $name: $stderr" || return
	done
}

# mount_field DIR FIELD: of the mount at DIR, as findmnt calls the field; false if there is none.
mount_field() { findmnt -n -M "$1" -o "$2"; }

is_mounted() { findmnt -n -M "$1" >/dev/null; }

assert_free() {
	! is_mounted "$1" || fail "still mounted: $1"
}

# refused COMMAND...: it must fail. (A failing ! does not end a bats test.)
refused() {
	! "$@" 2>/dev/null || fail "should have failed: ${*@Q}"
}

# assert_lower: ro is a good lower mount of a hk_tree.
assert_lower() {
	local options
	options=,$(mount_field "$W/ro" VFS-OPTIONS), || fail 'not mounted' || return
	assert_eq 'pristine' "$(<"$W/ro/etc/firmware")" 'the content' || return
	[[ $options == *,ro,* ]] || fail 'not read-only' || return
	[[ $options == *,nodev,* ]] || fail 'device nodes act' || return
	[[ $options != *,nosuid,* ]] || fail 'setuid programs do not act' || return
	refused touch "$W/ro/new"
}

# hk_tree DIR: a small firmware with one of each kind of thing.
hk_tree() {
	mkdir -p "$1"/{etc,bin,dev,empty}
	printf 'pristine\n' >"$1/etc/firmware"
	printf 'old\n' >"$1/etc/changes"
	ln -s firmware "$1/etc/link"
	cp /bin/true "$1/bin/setuid"
	chmod 4755 "$1/bin/setuid"
	mknod -m 666 "$1/dev/null" c 1 3
}

# hk_source: a firmware directory of the test's own, as $W/source.
hk_source() { hk_tree "$W/source"; }

# tree_dir: prints the path of a tree shared by all tests, for making images.
tree_dir() {
	make_once "$FIXTURES/hooks.tree" hk_tree || return
	printf '%s\n' "$FIXTURES/hooks.tree"
}

# image KIND FILE: makes an image of the shared tree; KIND is a file system's
# name, with the compressor after a dash for some.
image() {
	local tree
	tree=$(tree_dir)
	case $1 in
	ext[234]) "mkfs.$1" -q -d "$tree" "$2" 8M ;;
	squashfs) mksquashfs "$tree" "$2" -no-progress -quiet ;;
	squashfs-*) mksquashfs "$tree" "$2" -no-progress -quiet -comp "${1#*-}" ;;
	erofs) mkfs.erofs "$2" "$tree" ;;
	erofs-*) mkfs.erofs "-z${1#*-}" "$2" "$tree" ;;
	btrfs) truncate -s 120M "$2" && mkfs.btrfs -q -r "$tree" "$2" ;;
	xfs) image_xfs "$2" ;;
	iso9660) genisoimage -quiet -R -o "$2" "$tree" ;;
	vfat) mkfs.vfat -C "$2" 8192 ;;
	*) fail "no such kind of image: $1" ;;
	esac >&2
}

# image_xfs FILE: mkfs.xfs has no way to fill it, so mount it for that.
image_xfs() {
	truncate -s 320M "$1" && mkfs.xfs -q "$1" && mkdir -p "$W/fill" &&
		mount -o loop "$1" "$W/fill" && hk_tree "$W/fill" && umount "$W/fill"
}

# disk LABEL FILE LAYOUT...: a disk image with a partition table of kind LABEL;
# each LAYOUT is KIND:MIB, and the partition gets an image of that kind.
disk() {
	local label=$1 file=$2 layout part start=1 size total=2
	shift 2
	for layout; do
		(( total += ${layout#*:} ))
	done
	truncate -s "${total}M" "$file"
	{
		printf 'label: %s\n' "$label"
		for layout; do
			printf 'size=%sM\n' "${layout#*:}"
		done
	} | sfdisk -q "$file" >&2
	for layout; do
		size=${layout#*:}
		part=$BATS_TEST_TMPDIR/part
		rm -f "$part"
		[[ $layout == none:* ]] || image "${layout%%:*}" "$part" || return
		[[ ! -e $part ]] || dd if="$part" of="$file" bs=1M seek="$start" conv=notrunc status=none
		(( start += size ))
	done
}

# loops FILE: how many loop devices stand on it.
loops() {
	local count=0 file
	for file in /sys/block/loop*/loop/backing_file; do
		[[ ! -e $file || $(<"$file") != "$1"* ]] || (( ++count ))
	done 2>/dev/null
	printf '%s\n' "$count"
}

no_loops() { [[ $(loops "$1") == 0 ]]; }

# user_hook FILE: a hook on standard input becomes one that can be run.
user_hook() {
	cat >"$1" && chmod 755 "$1"
}

# lower_and_union: both mounted over a firmware directory.
lower_and_union() {
	[[ -e $W/source ]] || hk_source
	hk_is 0 mount mount lower
	hk_is 0 mount mount union
}
