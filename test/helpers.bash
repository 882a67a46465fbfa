# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Helpers of every bats file that tests the built program.
#
#	load helpers
#	setup() { fw_setup; }
#	teardown() { fw_teardown; }
#
# fw_setup gives each test a state root of its own in FW_ROOT and notes what the
# machine holds; fw_teardown drops, by id, what the test made there and fails the
# test if anything is left: mounts, loop devices, processes, interfaces, cgroups,
# AppArmor profiles. `run` puts stdout in $output and stderr in $stderr.

bats_require_minimum_version 1.5.0

REPO=$(cd "${BASH_SOURCE[0]%/*}/.." && pwd)
FIRMWARED=${FIRMWARED:-$REPO/bin/firmwared}
FIXTURES=$BATS_RUN_TMPDIR/fixtures

# --- set-up and tear-down -----------------------------------------------------

# fw_setup [NAME]: NAME is that of the state root, for tests of odd paths.
fw_setup() {
	disown -a # the clock of bats' time limit is a job of this shell: `wait` must not wait for it
	(( EUID == 0 )) || fail 'must be root' || return
	[[ -x $FIRMWARED ]] || make -s -C "$REPO" bin/firmwared >&2 3>&- || return
	FW_ROOT=$BATS_TEST_TMPDIR/${1:-root}
	FW_STARTED=$(start_time "$BASHPID")
	FW_BEFORE=$BATS_TEST_TMPDIR/before
	mkdir -p "$FW_ROOT"
	isolate_settings
	snapshot >"$FW_BEFORE"
}

# isolate_settings: neither the machine's configuration nor the caller's
# variables reach the program. Hooks of a checkout that root does not own would be refused:
# then a copy is used.
isolate_settings() {
	local var
	for var in $(compgen -v FIRMWARED_); do
		unset "$var"
	done
	export FIRMWARED_CONFIG=/dev/null
	if [[ -n $("$REPO/conf/check-trust" "$REPO/hooks" 2>&1) ]]; then
		export FIRMWARED_HOOK_DIRS=$BATS_RUN_TMPDIR/hooks
		[[ -d $FIRMWARED_HOOK_DIRS ]] || install -D -t "$FIRMWARED_HOOK_DIRS" "$REPO"/hooks/*.hook "$REPO"/hooks/*.bash
	fi
}

fw_teardown() {
	local status=0
	[[ -e ${FW_BEFORE:-} ]] || return 0 # the setup failed before anything was made
	fw_drop_all || status=1
	assert_no_leaks || status=1
	(( status == 0 )) || clear_leaks
	return "$status"
}

# fw_drop_all: ends and drops all instances of this test's root and removes its
# firmwares, each by id, the ones with a base before their bases.
fw_drop_all() {
	local id round
	[[ -e $FW_ROOT/instances || -e $FW_ROOT/firmwares ]] || return 0
	for id in $(fw list --json | jq -r '.[].id'); do
		fw drop "$id" --force >&2 || return 1
	done
	for round in 1 2 3; do
		for id in $(fw firmware list --json | jq -r '.[].id'); do
			if (( round < 3 )); then
				fw firmware remove "$id" >/dev/null 2>&1 || true
			else
				fw firmware remove "$id" >&2 || return 1
			fi
		done
	done
}

# --- the program --------------------------------------------------------------

# fw ARG...: the program on this test's root.
fw() {
	"$FIRMWARED" --root "$FW_ROOT" "$@" 3>&-
}

# fw_ok ARG...: must succeed; sets output and stderr.
fw_ok() {
	run --separate-stderr fw "$@"
	# shellcheck disable=SC2154 # set by run
	(( status == 0 )) || fail "firmwared ${*@Q}: status $status, stdout: $output, stderr: $stderr"
}

# fw_fails STATUS TEXT ARG...: must end with STATUS and say TEXT in the one
# line of its stderr; stdout must be empty.
fw_fails() {
	local want=$1 text=$2
	shift 2
	run_err "$want" "$text" fw "$@"
}

# run_err STATUS TEXT COMMAND...
run_err() {
	local want=$1 text=$2
	shift 2
	# bats warns of a 127 that is not asked for.
	if ((want == 127)); then run -127 --separate-stderr "$@"; else run --separate-stderr "$@"; fi
	[[ $status -eq $want ]] || fail "${*@Q}: status $status instead of $want, stdout: $output, stderr: $stderr" || return
	# shellcheck disable=SC2154 # set by run
	(( ${#stderr_lines[@]} == 1 )) || fail "${*@Q}: ${#stderr_lines[@]} lines on stderr instead of one: $stderr" || return
	[[ $stderr == *"$text"* ]] || fail "${*@Q}: stderr lacks '$text': $stderr" || return
	[[ -z $output ]] || fail "${*@Q}: failed but printed: $output" || return
}

# --- asserts ------------------------------------------------------------------

fail() {
	printf '%s\n' "$*" >&2
	return 1
}

# assert_eq WANT HAVE [WHAT]
assert_eq() {
	[[ $1 == "$2" ]] || fail "${3:+$3: }wanted ${1@Q}, have ${2@Q}"
}

# assert_has TEXT PART
assert_has() {
	[[ $1 == *"$2"* ]] || fail "${1@Q} lacks ${2@Q}"
}

# refute_has TEXT PART
refute_has() {
	[[ $1 != *"$2"* ]] || fail "${1@Q} has ${2@Q}"
}

# wait_until SECONDS COMMAND...: polls; fails when the limit passes. COMMAND's
# output is dropped.
wait_until() {
	local limit=$1 end
	shift
	end=$(( ${EPOCHREALTIME/[.,]/} + limit * 1000000 ))
	until "$@" >/dev/null 2>&1; do
		(( ${EPOCHREALTIME/[.,]/} < end )) || fail "not within $limit s: ${*@Q}" || return 1
		sleep 0.05
	done
}

# in_state NAME STATE: for wait_until. `get NAME pid` alone also succeeds before the start.
in_state() { [[ $(fw get "$1" state) == "$2" ]]; }

# --- fixtures -----------------------------------------------------------------

# make_once PATH COMMAND...: COMMAND makes the file or directory that is its
# last argument; one that is half made is never seen at PATH.
make_once() {
	local path=$1 new
	shift
	[[ -e $path ]] && return
	mkdir -p "$FIXTURES"
	new=$(mktemp -d "$FIXTURES/new.XXXXXX")
	"$@" "$new/it" >&2 || return
	mv -T "$new/it" "$path"
	rmdir "$new"
}

# busybox_tree DIR: a root file system with busybox, its applets and an init
# that says "busybox is up" on the console and stays.
busybox_tree() {
	local dir=$1 applet
	mkdir -p "$dir"/{bin,sbin,dev,proc,sys,tmp,root,etc,home}
	cp /bin/busybox "$dir/bin/busybox"
	for applet in $(/bin/busybox --list); do
		[[ $applet == busybox ]] || ln -s busybox "$dir/bin/$applet"
	done
	ln -s ../bin/busybox "$dir/sbin/init"
	chmod 1777 "$dir/tmp"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n' >"$dir/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\nuser:x:1000:\nextra:x:1001:user\n' >"$dir/etc/group"
	printf '::sysinit:/bin/echo busybox is up\n::respawn:/bin/sleep 100000\n' >"$dir/etc/inittab"
	printf 'pristine\n' >"$dir/etc/firmware"
}

# busybox_root: prints the path of the shared tree. It must not be changed.
busybox_root() {
	make_once "$FIXTURES/busybox" busybox_tree || return
	printf '%s\n' "$FIXTURES/busybox"
}

# new_root DIR: a tree of the test's own.
new_root() {
	busybox_root >/dev/null && cp -a "$FIXTURES/busybox" "$1"
}

ext2_of() {
	mkfs.ext2 -q -L fixture -d "$1" "$2" 16M
}

# ext2_image: prints the path of the shared image. It must not be changed.
ext2_image() {
	busybox_root >/dev/null && make_once "$FIXTURES/busybox.ext2" ext2_of "$FIXTURES/busybox" || return
	printf '%s\n' "$FIXTURES/busybox.ext2"
}

# new_image FILE: an image of the test's own.
new_image() {
	ext2_image >/dev/null && cp --sparse=always "$FIXTURES/busybox.ext2" "$1"
}

# tree_sum PATH: one checksum of a tree's names, modes, owners and contents, or
# of a file.
tree_sum() {
	if [[ -d $1 ]]; then
		tar -C "$1" --sort=name --numeric-owner --format=posix --pax-option=delete=atime,delete=ctime -cf - . | sha256sum
	else
		sha256sum <"$1"
	fi
}

# --- leaks --------------------------------------------------------------------

# snapshot: what the machine has that cannot name the test's directory.
snapshot() {
	{
		printf 'interface %s\n' /sys/class/net/* | grep -vE '/fw[0-9a-f]{12}$' # those of instances: see leaked_interfaces
		sed -n 's/^\([^ ]*firmwared[^ ]*\) .*/profile \1/p' /sys/kernel/security/apparmor/profiles 2>/dev/null
	} | sort
}

# token: the part of the test's directory that tells it from all others,
# wherever a kernel table begins its paths.
token() {
	printf '%s\n' "${BATS_RUN_TMPDIR##*/}${BATS_TEST_TMPDIR#"$BATS_RUN_TMPDIR"}/"
}

# root_key: what the program calls a root outside of it.
root_key() {
	printf '%s' "$FW_ROOT" | sha256sum | cut -c1-8
}

# leaked_mounts: mount points of this namespace, last mounted first.
leaked_mounts() {
	local line point part key
	part=$(token) key=$(root_key)
	while IFS= read -r line; do
		if [[ $line == *"$part"* || $line == *"/firmwared/roots/$key"* ]]; then
			read -r _ _ _ _ point _ <<<"$line"
			printf '%b\n' "${point//\\/\\0}"
		fi
	done < <(tac /proc/self/mountinfo)
}

# leaked_loops: devices on files of this bats run.
leaked_loops() {
	local file
	for file in /sys/block/loop*/loop/backing_file; do
		if [[ -e $file && $(<"$file") == *"${BATS_RUN_TMPDIR##*/}"* ]]; then
			printf '/dev/%s\n' "$(basename "${file%/loop/*}")"
		fi
	done 2>/dev/null
}

# instance_ids: of all that this root ever had, as its events name them. Others may be at work on this machine.
instance_ids() { cat "$FW_ROOT"/events* 2>/dev/null | jq -r '.instance_id // empty' | sort -u; }

# leaked_interfaces: outer ends of this root's instances.
leaked_interfaces() {
	local id
	for id in $(instance_ids); do
		[[ ! -e /sys/class/net/fw$id ]] || printf 'fw%s\n' "$id"
	done
}

# leaked_tables: of nft, named after this root's instances.
leaked_tables() {
	local ids
	type -P nft >/dev/null || return 0
	ids=$(instance_ids)
	[[ -z $ids ]] || nft list tables | grep -F "$ids" || true
}

# leaked_networks: links that keep a network for an instance of this test.
leaked_networks() { find /run/firmwared/nets -type l -lname "*$(token)*" 2>/dev/null || true; }

# leaked_cgroups: groups of this root, inner ones first.
leaked_cgroups() {
	local base key
	key=$(root_key)
	for base in /sys/fs/cgroup /sys/fs/cgroup/*/; do # one tree, or one for each controller
		if [[ -d $base/firmwared/$key ]]; then
			find "$base/firmwared/$key" -depth -type d
		fi
		if [[ -d $base/firmwared-$key ]]; then
			printf '%s\n' "$base/firmwared-$key"
		fi
	done
}

# leaked_processes: processes younger than the test that were called with a path
# of the state root, hold something of it open, have the variables of a hook for
# it, are in a cgroup of it, or have a file system of it as their root.
leaked_processes() {
	local part root_mount pid
	# Without these two every process of the machine would answer.
	[[ -n ${FW_STARTED:-} && ${FW_ROOT:-} == "$BATS_TEST_TMPDIR"/?* ]] || return
	part=$(token) root_mount="^[^ ]+ [^ ]+ [^ ]+ [^ ]+ / .*$part"
	{
		{
			pids_naming "$part"
			find /proc/[0-9]*/{cwd,root} /proc/[0-9]*/fd -maxdepth 1 -lname "*$part*" | cut -d/ -f3
			grep -lE "$root_mount" /proc/[0-9]*/mountinfo | cut -d/ -f3
			leaked_cgroups | while IFS= read -r pid; do cat "$pid/cgroup.procs"; done
		} | sort -un | while read -r pid; do
			if (( $(start_time "$pid") >= FW_STARTED )) && ! is_own "$pid"; then
				printf '%s\n' "$pid"
			fi
		done
	} 2>/dev/null
}

# pids_naming PART: by command line, or by the variables of a hook.
pids_naming() {
	local dir words word
	for dir in /proc/[0-9]*; do
		mapfile -d '' -t words <"$dir/cmdline" || continue
		for word in "${words[@]}"; do
			[[ $word != *"$FW_ROOT"* ]] || printf '%s\n' "${dir#/proc/}"
		done
		mapfile -d '' -t words <"$dir/environ" || continue
		for word in "${words[@]}"; do
			[[ ! $word =~ ^FIRMWARED_(RO|RW|UNION|STATE|FIRMWARE)= || $word != *"$1"* ]] || printf '%s\n' "${dir#/proc/}"
		done
	done
}

# start_time PID: in ticks since the machine booted; 0 if it is gone.
start_time() {
	local stat
	stat=$(<"/proc/$1/stat") || { printf '0\n'; return; }
	read -ra stat <<<"${stat##*) }"
	printf '%s\n' "${stat[19]}"
}

# is_own PID: the test's shell, one above it, or a subshell of it at work here.
is_own() {
	local pid=$BASHPID
	while (( pid > 1 )); do
		(( pid != $1 )) || return 0
		pid=$(parent "$pid")
	done
	return 1
}

parent() {
	local stat
	stat=$(<"/proc/$1/stat") || { printf '0\n'; return; }
	read -ra stat <<<"${stat##*) }"
	printf '%s\n' "${stat[1]}"
}

# leaks: everything left of this test, one thing a line.
leaks() {
	leaked_mounts | sed 's/^/mount /'
	leaked_loops | sed 's/^/loop device /'
	leaked_cgroups | sed 's/^/cgroup /'
	leaked_interfaces | sed 's/^/interface /'
	leaked_tables
	leaked_networks | sed 's/^/network /'
	local pid words
	for pid in $(leaked_processes); do
		mapfile -d '' -t words <"/proc/$pid/cmdline" || continue
		printf 'process %s: %.200s\n' "$pid" "${words[*]}"
	done 2>/dev/null
	comm -13 "$FW_BEFORE" <(snapshot)
}

no_leaks() { [[ -z $(leaks) ]]; }

# assert_no_leaks: a loop device or an interface that the kernel is still
# taking down is given some seconds.
assert_no_leaks() {
	wait_until 10 no_leaks 2>/dev/null || fail "left behind:"$'\n'"$(leaks)"
}

# clear_leaks: after a failure, so that the next test starts clean.
clear_leaks() {
	local it
	for it in $(leaked_processes); do
		kill -KILL "$it" || true
	done
	while IFS= read -r it; do
		umount "$it" || umount -l "$it" || true
	done < <(leaked_mounts)
	for it in $(leaked_loops); do
		losetup -d "$it" || true
	done
	leaked_cgroups | while IFS= read -r it; do
		rmdir "$it" || true
	done
	for it in $(leaked_interfaces); do
		ip link del "$it" || true
	done
	leaked_tables | while read -r _ it; do
		# shellcheck disable=SC2086 # family and name
		nft delete table $it || true
	done
	leaked_networks | while IFS= read -r it; do
		rm -f "$it"
	done
} >/dev/null 2>&1
