#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# doctor: what it says of this machine, and of one that lacks something.

load helpers

setup() {
	fw_setup
	T=$BATS_TEST_TMPDIR
	HOOKS=$T/hooks
	mkdir "$HOOKS"
	export FIRMWARED_HOOK_DIRS=$HOOKS:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
}
teardown() {
	[[ -z ${SMALL:-} ]] || umount "$SMALL"
	wait_until 5 no_groups || return # those of others go, too
	fw_teardown
}

# hook NAME LINE...: one that describes itself with these lines.
hook() {
	local name=$1
	shift
	printf "#!/bin/sh\nprintf '%%s\\\\n' api=1 summary=test %s\n" "${*@Q}" >"$HOOKS/$name.hook"
	chmod 755 "$HOOKS/$name.hook"
}

# doctor STATUS [COMMAND...]: sets JSON to the findings. The command is run around the program.
doctor() {
	local want=$1
	shift
	run --separate-stderr "$@" "$FIRMWARED" --root "$FW_ROOT" doctor --json 3>&-
	assert_eq "$want" "$status" "$stderr$(jq -c '.[] | select(.status == "problem")' <<<"$output")" || return
	assert_eq '' "$stderr" || return
	JSON=$output
}

# finding STATUS WHAT TEXT: it is among them, with TEXT in it.
finding() {
	local line
	line=$(jq -r --arg s "$1" --arg w "$2" '.[] | select(.status == $s and .what == $w) | .details + ": " + .advice' <<<"$JSON")
	[[ -n $line ]] || fail "no $1 of $2 in $JSON" || return
	assert_has "$line" "$3"
}

# no_groups: none of doctor's own cgroups is there.
no_groups() { [[ -z $(find /sys/fs/cgroup -maxdepth 4 -name 'firmwared-doctor-*' 2>/dev/null) ]]; }

@test "as the first command ever: no problem here, nothing made, nothing left" {
	local before
	FW_ROOT=$T/none
	before=$(ls -A "$T")
	doctor 0
	for what in 'configuration' 'mount namespace' overlay 'mnt namespace' 'pid namespace' 'uts namespace' 'ipc namespace' \
		'net namespace' 'cgroup namespace' pidfd 'loop devices' 'hook mount' 'state directory' room 'run directory' leftovers; do
		finding ok "$what" ''
	done
	for what in binfmt_misc AppArmor seccomp 'user namespace' 'device filter' cgroup2 'idmapped mounts' \
		'memory controller' 'cpu controller' 'pids controller' 'freezer controller'; do
		assert_eq 1 "$(jq --arg w "$what" '[.[] | select(.what == $w)] | length' <<<"$JSON")" "$what"
	done
	rm -rf "$T"/separate-stderr-*
	assert_eq "$before" "$(ls -A "$T")"
	FW_ROOT=$T/root
	assert_eq '' "$(ls -A "$FW_ROOT")"
}

@test "one line each for people, an array of the same in JSON" {
	fw_ok doctor
	doctor 0
	assert_eq "$(jq length <<<"$JSON")" "$(grep -cE '^(ok|warning|problem)  *[^ ]' <<<"$(fw doctor)")"
	assert_eq 'advice details status what' "$(jq -r '[.[] | keys[]] | unique | join(" ")' <<<"$JSON")"
	assert_eq '' "$(jq -r '.[] | select((.status == "ok") != (.advice == "")) | .what' <<<"$JSON")"
}

@test "beside a running instance: it is no leftover, and the mounts are found from another namespace" {
	fw_ok firmware add "$(ext2_image)" --name img
	fw_ok prepare img --name box
	fw_ok start box -- /bin/sleep 1000
	doctor 0
	finding ok leftovers none
	doctor 0 unshare -m
	finding ok 'mount namespace' ''
	doctor 1 unshare --pid --fork --mount-proc
	finding problem 'mount namespace' 'belong to another container'
	assert_eq started "$(fw get box state)"
}

@test "hooks: not to be trusted, broken, masked" {
	hook writable layers=lower
	chmod 777 "$HOOKS/writable.hook"
	doctor 1
	finding problem 'hook file' "$HOOKS/writable.hook is writable by others"
	run fw doctor
	assert_eq 1 "$status"
	assert_has "$output" 'problem  hook file'
	rm "$HOOKS/writable.hook"
	hook strange layers=neither
	doctor 1
	finding problem 'hook strange' 'no layer that is known'
	ln -sf /dev/null "$HOOKS/strange.hook"
	doctor 0
}

@test "hooks: what they require" {
	hook lower layers=lower 'requires=tool:no-such-tool tool:mount fs:no-such-fs' formats=strange
	doctor 0
	finding warning 'hook lower' 'program no-such-tool (install it), file system no-such-fs'
	finding warning 'hook lower' 'cannot mount strange'
	hook union layers=union requires=dev:no-such-node
	doctor 0
	finding warning 'hook union' /dev/no-such-node
	FIRMWARED_UNION_HOOK=union doctor 1
	finding problem 'hook union' /dev/no-such-node
	FIRMWARED_UNION_HOOK=lower doctor 1
	finding problem 'union hook' 'no usable lower.hook'
	mkdir "$T/nothing"
	FIRMWARED_HOOK_DIRS=$T/nothing doctor 1
	finding problem 'lower hooks' "$T/nothing"
	finding problem 'union hook' mount.hook
}

@test "a configuration file that cannot be used is a problem, and the rest is looked at" {
	echo 'nonsense = 1' >"$T/conf"
	FIRMWARED_CONFIG=$T/conf doctor 1
	finding problem configuration "$T/conf:1"
	finding ok 'state directory' "$FW_ROOT"
	FIRMWARED_CONFIG=$T/gone doctor 1
	finding problem configuration "$T/gone"
}

@test "the state directory on an overlay, on a full, a small or a read-only file system" {
	mkdir "$T"/{l,u,w}
	SMALL=$FW_ROOT
	mount -t overlay overlay -o "lowerdir=$T/l,upperdir=$T/u,workdir=$T/w" "$SMALL"
	doctor 1
	finding problem 'state directory' 'is itself an overlay'
	assert_eq '' "$(ls -A "$FW_ROOT")"
	umount "$SMALL"
	mount -t tmpfs -o size=64k tmpfs "$SMALL"
	head -c 1M /dev/zero >"$SMALL/filler" 2>/dev/null || true
	doctor 1
	finding problem 'state directory' 'no space left on device'
	umount "$SMALL"
	mount -t tmpfs -o nr_inodes=2 tmpfs "$SMALL"
	doctor 1
	finding problem 'state directory' 'no space left on device'
	umount "$SMALL"
	mount -t tmpfs -o size=4M tmpfs "$SMALL"
	doctor 0
	finding warning room '3 MiB free'
	mount -o remount,ro "$SMALL"
	doctor 1
	finding problem 'state directory' 'read-only file system'
	finding problem 'run directory' 'read-only file system'
}

@test "leftovers are named, and left; what is under way is none" {
	local id=0123456789ab part key group mark lock
	fw_ok firmware add "$(busybox_root)" --name fw
	key=$(root_key)
	mkdir -p "$FW_ROOT/workspaces/$id/rw" "$FW_ROOT/run/instances/$id" "$FW_ROOT/run/lowers/$id.ba9876543210"
	: >"$FW_ROOT/run/pending/instance.$id.deadbeef0000"
	for group in /sys/fs/cgroup{,/unified}; do
		[[ ! -e $group/cgroup.controllers ]] || mkdir -p "$group/firmwared/$key/i-$id"
	done
	doctor 0
	for part in "workspace $id ($FW_ROOT/workspaces/$id)" "lower $id.ba9876543210 (" "cgroup /" "mark instance.$id (" 'firmwared gc'; do
		finding warning leftovers "$part"
	done
	[[ -d $FW_ROOT/workspaces/$id/rw && -e $FW_ROOT/run/pending/instance.$id.deadbeef0000 ]]
	exec {mark}>"$FW_ROOT/run/pending/instance.$id.deadbeef0000" {lock}>"$FW_ROOT/run/locks/i-$id"
	flock "$mark"
	flock "$lock"
	rmdir "$FW_ROOT/run/lowers/$id.ba9876543210"
	doctor 0
	exec {mark}>&- {lock}>&-
	finding ok leftovers none
	rm -r "$FW_ROOT/workspaces/$id" "$FW_ROOT/run/instances/$id" "$FW_ROOT/run/pending/instance.$id.deadbeef0000" "$FW_ROOT/run/locks/i-$id"
	leaked_cgroups | while IFS= read -r group; do rmdir "$group"; done
}

@test "a machine without loop devices, cgroups or binfmt_misc" {
	doctor 1 unshare -m sh -c 'mount --bind /dev/null /dev/loop-control && mount -t tmpfs none /sys/fs/cgroup && mount -t tmpfs none /proc/sys/fs && exec "$@"' -
	finding problem 'loop devices' 'images cannot be mounted'
	finding warning cgroup2 'no cgroup2 hierarchy is mounted'
	finding warning 'memory controller' 'memory cannot be limited'
	finding warning 'binfmt_misc' 'not mounted'
}

@test "a machine that allows no more namespaces" {
	# The limits are those of a user namespace of the test's own.
	doctor 1 unshare --user --map-root-user --mount sh -c 'for kind in net uts user; do echo 0 >/proc/sys/user/max_${kind}_namespaces; done; exec "$@"' -
	finding problem 'net namespace' 'no space left on device'
	finding problem 'uts namespace' 'max_uts_namespaces'
	finding warning 'user namespace' 'max_user_namespaces'
	finding warning 'idmapped mounts' 'user namespace'
}

@test "not root" {
	chmod 755 "$T" "$BATS_RUN_TMPDIR"
	cp "$FIRMWARED" "$T/firmwared"
	run_err 1 'run it as root' setpriv --reuid=65534 --clear-groups "$T/firmwared" --root "$T/other" doctor
	fw_fails 2 usage doctor extra
}
