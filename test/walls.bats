#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# What keeps an instance from the machine, on a kernel without AppArmor: the user
# namespace over idmapped layers, capabilities, seccomp, the device filter.
# test/vm/walls.bats is the same with AppArmor.

load helpers

setup() {
	fw_setup
	ROOTFS=$(busybox_root)
}

teardown() {
	if [[ -n ${RAMFS-} ]]; then
		fw_drop_all && umount "$RAMFS" || return
	fi
	fw_teardown
}

# in_box SCRIPT [OPTION...]: runs it as pid 1 of box, to its end, whatever that is.
in_box() {
	local script=$1
	shift
	fw_ok start box --attach "$@" -- /bin/sh -c "$script; exit 0"
	output=${output//$'\r'/}
	mapfile -t lines <<<"$output"
}

owner() { stat -c %u:%g "$1"; }

@test "an instance's root is nobody on this machine, and root in its rw layer" {
	local first
	fw_ok run "$ROOTFS" --name box -- /bin/sh -c 'id -u; echo new >/etc/new; chown user:user /etc/new; echo x >>/etc/firmware; mkdir /etc/d
		cat /proc/self/uid_map; chmod 4755 /etc/new'
	assert_eq 0 "${lines[0]}"
	first=$(fw get box first_id)
	((first >= 65536))
	[[ ${lines[1]} =~ ^\ +0\ +$first\ +65536$ ]]
	assert_eq userns "$(fw get box walls)"
	assert_has "$(fw show box)" "userns, root is id $first"
	assert_eq "$first" "$(fw show box --json | jq .first_id)"
	assert_eq 1000:1000 "$(owner "$FW_ROOT"/workspaces/*/rw/etc/new)"
	assert_eq 0:0 "$(owner "$FW_ROOT"/workspaces/*/rw/etc/firmware)"
	assert_eq 0:0 "$(owner "$FW_ROOT"/workspaces/*/rw/etc/d)"
	[[ -u $(echo "$FW_ROOT"/workspaces/*/rw/etc/new) ]]
	[[ ! -e $(echo "$FW_ROOT"/workspaces/*/map) ]]
}

@test "other walls at the next start: the union is made anew, the rw layer stays" {
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	in_box 'echo one >/etc/a; id -u'
	in_box 'cat /etc/a; echo two >/etc/a; echo b >/etc/b; cat /proc/self/uid_map' --unconfined
	assert_eq one "${lines[0]}"
	[[ ${lines[1]} =~ 0\ +0\ +4294967295 ]]
	assert_eq none "$(fw get box walls)"
	in_box 'cat /etc/a /etc/b; rm /etc/b; stat -c %u /etc/a'
	assert_eq $'two\nb\n0' "$output"
	assert_eq userns "$(fw get box walls)"
}

@test "with no wall at all a start is refused, unless --unconfined" {
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	export FIRMWARED_USERNS=off FIRMWARED_APPARMOR=off
	fw_fails 1 'nothing would keep it from this machine: AppArmor is switched off' start box
	fw_fails 125 -- run fw --rm -- /bin/true
	in_box 'echo ran' --unconfined
	assert_eq ran "$output"
	export FIRMWARED_USERNS=auto FIRMWARED_APPARMOR=required
	fw_fails 1 'AppArmor is required (setting apparmor), but' start box
	unset FIRMWARED_USERNS FIRMWARED_APPARMOR
	in_box 'echo again'
	assert_eq again "$output"
}

@test "hooks are told what a union is for" {
	local hooks=$BATS_TEST_TMPDIR/hooks
	mkdir "$hooks"
	printf '#!/bin/bash\n[[ -z ${FIRMWARED_CONFINEMENT-} ]] || echo "$FIRMWARED_ACTION $FIRMWARED_CONFINEMENT $FIRMWARED_RW" >>%q\n[[ $FIRMWARED_ACTION != describe ]] || { %q | grep -v unmount=plain; exit; }\nexec %q\n' \
		"$BATS_TEST_TMPDIR/told" "$REPO/hooks/mount.hook" "$REPO/hooks/mount.hook" >"$hooks/spy.hook"
	chmod 755 "$hooks/spy.hook"
	export FIRMWARED_HOOK_DIRS=$hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	fw_ok firmware add "$ROOTFS" --name fw --hook mount
	fw_ok prepare fw --name box --union spy
	in_box true --unconfined
	run cut -d' ' -f1,2 "$BATS_TEST_TMPDIR/told"
	assert_eq $'mount userns\nunmount userns\nmount none' "$output"
	assert_has "$(head -n1 "$BATS_TEST_TMPDIR/told")" /map/upper/rw
}

@test "no two instances have one range of ids, whatever their state directory" {
	local other=$BATS_TEST_TMPDIR/other ids
	export FIRMWARED_USERNS_RANGE=1400000000:196608
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --count 2
	"$FIRMWARED" --root "$other" run "$ROOTFS" --name third -- /bin/true 3>&-
	fw_ok start --all -- /bin/sleep 1000
	ids=$(fw list --json | jq '.[].first_id'; "$FIRMWARED" --root "$other" get third first_id 3>&-)
	assert_eq $'1400000000\n1400065536\n1400131072' "$(sort <<<"$ids")"
	# A fourth has none left, and so no wall.
	fw_ok prepare fw --name fourth
	fw_fails 1 'all 3 ranges of the setting userns_range are taken' start fourth
	"$FIRMWARED" --root "$other" drop third 3>&-
	"$FIRMWARED" --root "$other" firmware remove "$("$FIRMWARED" --root "$other" firmware list --json 3>&- | jq -r '.[0].id')" 3>&-
	fw_ok remount fourth
	fw_ok start fourth -- /bin/true
	fw_drop_all
	run ls /run/firmwared/ids
	refute_has "$output" 14000
}

@test "a firmware that cannot be shown with other owners is told at add, and refused at start" {
	RAMFS=$BATS_TEST_TMPDIR/ramfs
	mkdir "$RAMFS"
	mount -t ramfs ramfs "$RAMFS"
	cp -a "$ROOTFS" "$RAMFS/final"
	fw_ok firmware add "$RAMFS/final" --name fw
	assert_has "$stderr" 'cannot run in a user namespace'
	FIRMWARED_USERNS=on fw_fails 1 'for a user namespace' prepare fw --name box
	fw_ok prepare fw --name box
	fw_fails 1 'idmapped' start box
	in_box 'echo ran' --unconfined
	assert_eq ran "$output"
}

@test "busybox init mounts everything itself, and powers off" {
	local final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	printf '%s\n' '::sysinit:/bin/mount -t proc proc /proc' '::sysinit:/bin/mount -t sysfs sysfs /sys' \
		'::sysinit:/bin/mount -t devtmpfs devtmpfs /dev' '::sysinit:/bin/mount -t devpts devpts /dev/pts' \
		'::sysinit:/bin/mount -t tmpfs tmpfs /tmp' '::sysinit:/bin/hostname mine' '::sysinit:/bin/echo busybox is up' \
		'::sysinit:/bin/sh -c "echo >/dev/null && /bin/head -c 3 /dev/urandom >/tmp/x && hostname"' \
		'::once:/bin/poweroff' >"$final/etc/inittab"
	fw_ok firmware add "$final" --name fw
	fw_ok prepare fw --name box
	fw_ok start box
	wait_until 20 box_is ready
	assert_has "$(fw logs box)" 'busybox is up'
	assert_has "$(fw logs box)" 'mine'
	assert_eq poweroff "$(fw get box exit_reason)"
}

box_is() { [[ $(fw get box state) == "$1" ]]; }

@test "exec and cp are in the same user namespace" {
	local first
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'mount -t tmpfs t /tmp; sleep 1000'
	first=$(fw get box first_id)
	mounted() { fw exec box -- grep -q ' /tmp tmpfs' /proc/mounts; }
	wait_until 10 mounted
	fw_ok exec box -- /bin/sh -c 'id -u; tr -s " " </proc/self/uid_map; (echo x >/proc/sys/kernel/core_pattern) 2>/dev/null || echo kept; dmesg 2>&1; true'
	assert_eq "0  0 $first 65536 kept dmesg: klogctl: Operation not permitted" "${lines[*]}"
	echo given >"$BATS_TEST_TMPDIR/file"
	chown 1000:1001 "$BATS_TEST_TMPDIR/file"
	for to in /etc /tmp; do
		fw_ok cp "$BATS_TEST_TMPDIR/file" "box:$to/file"
		fw_ok exec box -- stat -c %u:%g "$to/file"
		assert_eq 1000:1001 "$output"
		fw_ok cp "box:$to/file" "$BATS_TEST_TMPDIR/back"
		assert_eq 1000:1001 "$(owner "$BATS_TEST_TMPDIR/back")"
	done
}

@test "caps_add and caps_drop; what needs a capability goes by it" {
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	in_box 'grep -c "^Seccomp:.2" /proc/self/status; grep CapBnd /proc/self/status; dmesg 2>&1 | head -n1'
	local plain=${lines[1]}
	assert_eq 1 "${lines[0]}"
	assert_has "${lines[2]}" 'not permitted'
	in_box 'grep CapBnd /proc/self/status' --set caps_drop=net_raw --set 'caps_add=sys_time CAP_SYSLOG'
	[[ $output != "$plain" ]]
	((16#${output##*[[:space:]]} == (16#${plain##*[[:space:]]} & ~(1 << 13) | 1 << 25 | 1 << 34)))
	fw_fails 1 '"fly" is no capability' set box caps_add=fly
}

@test "device_allow lends a device, and only in the way that it says" {
	[[ -c /dev/loop-control ]]
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	in_box 'ls /dev/loop-control 2>&1; mknod /tmp/n c 10 237 2>&1'
	assert_has "${lines[0]}" 'No such file'
	assert_has "${lines[1]}" 'not permitted'
	in_box 'exec 3</dev/loop-control && echo read; (exec 4<>/dev/loop-control) 2>/dev/null || echo no more' --set device_allow=/dev/loop-control:r
	assert_eq $'read\nno more' "$output"
	in_box 'exec 4<>/dev/loop-control && echo both' --set device_allow=/dev/loop-control
	assert_eq both "$output"
	fw_ok set box device_allow=/dev/nosuch
	fw_fails 1 'cannot lend device /dev/nosuch' start box
	fw_fails 1 'is no device' set box device_allow=/etc/passwd
}

# socket_program: a 32-bit x86 program without a library, whose exit status is the errno of a
# socket(AF_UNIX) by socketcall(2).
socket_program() {
	printf '%s\n' 'static int args[3] = {1, 1, 0};' \
		'void _start(void) { int r; __asm__ volatile("int $0x80" : "=a"(r) : "a"(102), "b"(1), "c"(args) : "memory");' \
		'__asm__ volatile("int $0x80" : : "a"(1), "b"(r < 0 ? -r : 0)); for (;;) ; }' |
		gcc -m32 -nostdlib -static -ffreestanding -fno-pie -no-pie -fno-stack-protector -o "$1" -x c -
}

@test "sockets of 32-bit x86 programs: denied, told at the start, and given by socketcall=on" {
	local final=$BATS_TEST_TMPDIR/final
	[[ $(uname -m) == x86_64 ]] || skip 'for x86-64'
	new_root "$final"
	socket_program "$final/bin/socket"
	fw_ok firmware add "$final" --name fw
	fw_ok prepare fw --name box
	run --separate-stderr fw start box --attach -- /bin/socket
	assert_eq 38 "$status"
	assert_has "$stderr" 'firmwared set box socketcall=on'
	fw_fails 1 'none of on, off' set box socketcall=maybe
	fw_ok set box socketcall=on
	fw_ok start box --attach -- /bin/socket
	refute_has "$stderr" warning
	fw_ok start box -- /bin/sleep 1000
	fw_ok exec box -- /bin/socket
}

# CVE-2024-21626 and its kind.
@test "no working directory leads out: descriptors and the directory of who starts it" {
	local cwd out=$BATS_TEST_TMPDIR/out flag
	mkdir "$out"
	: >"$out/secret"
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	cd "$out"
	for flag in '' --unconfined; do
		fw_ok start box $flag -- /bin/sleep 1000 7<.
		for cwd in /proc/self/cwd /proc/1/cwd /proc/self/fd/{3..12} /proc/1/fd/7 /../../../.. /proc/self/root; do
			run --separate-stderr fw exec box --cwd "$cwd" -- /bin/sh -c 'ls; ls ..; ls ../..' 7<.
			((status != 2)) || fail "$stderr"
			refute_has "$output" secret
		done
		fw_ok kill box
		for cwd in /proc/self/cwd /proc/self/fd/{3..12}; do
			run --separate-stderr fw start box --attach $flag --cwd "$cwd" -- /bin/sh -c 'ls; ls ..; ls ../..' 7<.
			((status != 2)) || fail "$stderr"
			refute_has "$output" secret
		done
	done
	# The control: this is how it would look.
	assert_eq secret "$(ls /proc/self/fd/7/ 7<.)"
}

@test "profile show: the template as it would be loaded; an unknown one is told" {
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	assert_has "$(fw profile show box)" "profile firmwared_$(root_key)_"
	fw_ok set box profile=nosuch
	fw_fails 1 'there is no profile template nosuch.profile' profile show box
	fw_fails 1 'is no name of a profile template' set box profile=../x
}
