#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside the virtual machine and asks whether it is the machine that the other tests
# rely on: AppArmor enforces, cgroup v2 is pure, the file systems can be mounted.

bats_require_minimum_version 1.5.0

setup() {
	dir=$BATS_TEST_TMPDIR
	[[ ${FIRMWARED_VM-} == 1 ]] || {
		printf 'run me by test/vm/bats\n'
		return 1
	}
}

teardown() {
	local mount_point

	for mount_point in "${dir:?}"/{ro,union,lower}; do
		! mountpoint -q "$mount_point" || umount "$mount_point"
	done
	if ip link show vm-smoke0 &>/dev/null; then
		ip link delete vm-smoke0
	fi
	if [[ -e $dir/profile ]]; then
		apparmor_parser -R "$dir/profile"
	fi
}

# A small tree to make images of.
make_tree() {
	mkdir -p "$1/etc"
	printf 'smoke\n' >"$1/etc/name"
}

@test "apparmor: a label is entered, and enforced" {
	printf '%s\n' 'profile vm_smoke {' '  file,' '  capability,' '  audit deny /proc/sysrq-trigger w,' '}' >"$dir/profile"
	[[ $(</sys/module/apparmor/parameters/enabled) == Y ]]
	apparmor_parser -r -K "$dir/profile"
	run aa-exec -p vm_smoke -- cat /proc/self/attr/current
	[[ $status == 0 && $output == 'vm_smoke (enforce)' ]]

	run -0 sh -c 'echo h >/proc/sysrq-trigger'
	run aa-exec -p vm_smoke -- sh -c 'echo h >/proc/sysrq-trigger'
	[[ $status != 0 && $output == *'Permission denied'* ]]
	dmesg | grep -q 'apparmor="DENIED".*profile="vm_smoke" name="/proc/sysrq-trigger"'
}

@test "cgroup: version 2 only, every usual controller given to the children" {
	local controller given

	[[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]
	run grep ' - cgroup ' /proc/self/mountinfo
	[[ $status == 1 ]]
	[[ $(</proc/self/cgroup) == 0::/session ]]
	given=" $(</sys/fs/cgroup/cgroup.subtree_control) "
	for controller in cpu cpuset io memory pids; do
		[[ $given == *" $controller "* ]]
	done
	mkdir /sys/fs/cgroup/vm-smoke
	printf '1048576' >/sys/fs/cgroup/vm-smoke/memory.max
	[[ -e /sys/fs/cgroup/vm-smoke/cgroup.kill ]]
	rmdir /sys/fs/cgroup/vm-smoke
}

@test "overlay: an upper layer in /tmp and in /var/lib, a lower one in the repository" {
	local upper lower=$dir/lower

	# The repository's path may hold what a mount option cannot.
	mkdir "$lower"
	mount --bind "$BATS_TEST_DIRNAME" "$lower"
	for upper in "$dir" /var/lib/vm-smoke; do
		mkdir -p "$upper/rw" "$upper/work" "$dir/union"
		mount -t overlay -o "lowerdir=$lower,upperdir=$upper/rw,workdir=$upper/work" overlay "$dir/union"
		printf 'changed\n' >>"$dir/union/smoke.bats"
		rm "$dir/union/run"
		umount "$dir/union"
		[[ $(tail -n 1 "$upper/rw/smoke.bats") == changed ]]
		[[ $(stat -c %F "$upper/rw/run") == 'character special file' ]]
		[[ -e $lower/run ]]
		rm -r "$upper/rw" "$upper/work"
	done
}

@test "loop: squashfs, erofs and ext4 images" {
	local image

	make_tree "$dir/tree"
	mksquashfs "$dir/tree" "$dir/squashfs" -quiet -no-progress
	mkfs.erofs --quiet "$dir/erofs" "$dir/tree"
	truncate -s 8M "$dir/ext4"
	mke2fs -q -t ext4 -d "$dir/tree" "$dir/ext4"
	mkdir "$dir/ro"
	for image in squashfs erofs ext4; do
		mount -t "$image" -o ro,loop "$dir/$image" "$dir/ro"
		[[ $(<"$dir/ro/etc/name") == smoke ]]
		umount "$dir/ro"
	done
	[[ -z $(losetup --list --noheadings) ]]
}

@test "modules: network devices, dm-verity, nbd" {
	modprobe -a veth bridge tun dm-mod dm-verity nbd
	ip link add vm-smoke0 type veth peer name vm-smoke1
	ip link add vm-smoke2 type bridge
	ip link set vm-smoke0 master vm-smoke2
	ip link delete vm-smoke2
}

@test "namespaces: all of them, a user namespace too" {
	# shellcheck disable=SC2016
	run -0 unshare -m -p -f -u -i -n -C --mount-proc sh -c 'echo $$'
	[[ $output == 1 ]]
	run -0 unshare -U -r -m -p -f --mount-proc sh -c 'mount -t tmpfs tmpfs /mnt && id -u'
	[[ $output == 0 ]]
}

@test "/dev: the nodes that no udev made, a pty, and no kvm" {
	local node

	for node in /dev/loop-control /dev/fuse /dev/net/tun /dev/mapper/control; do
		[[ -c $node ]]
		: <>"$node"
	done
	[[ -c /dev/ptmx && -e /dev/fd/0 && -d /dev/shm && ! -e /dev/kvm ]]
	run -5 script -q -e -c 'exit 5' /dev/null
}

@test "kernel file systems, disks, a shared tree" {
	local path type

	while read -r path type; do
		run stat -f -c %T "$path"
		[[ $output == "$type" ]] || {
			printf '%s is %s, not %s\n' "$path" "$output" "$type"
			return 1
		}
	done <<-'LIST'
		/proc proc
		/sys sysfs
		/dev/pts devpts
		/sys/kernel/security securityfs
		/sys/kernel/tracing tracefs
		/sys/fs/bpf bpf_fs
		/proc/sys/fs/binfmt_misc binfmt_misc
		/run tmpfs
		/tmp ext2/ext3
		/var/lib ext2/ext3
	LIST
	[[ $(findmnt -n -o PROPAGATION /) == shared ]]
}

@test "a machine of its own: name, lo, mtab, random numbers" {
	[[ $(hostname) == vm ]]
	ip address show lo | grep -q 'inet 127.0.0.1/8'
	grep -q ' / overlay ' /etc/mtab
	dmesg | grep -q 'crng init done'
	[[ ! -e /.dockerenv ]]
}

@test "the repository: at its own path; what is written there is only seen here" {
	[[ -x $BATS_TEST_DIRNAME/run ]]
	: >"$BATS_TEST_DIRNAME/written-in-the-vm"
}
