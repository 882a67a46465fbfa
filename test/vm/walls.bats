#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# Runs inside the virtual machine: the walls with AppArmor and with cgroup v2 alone.
# test/walls.bats is for a kernel without AppArmor.
# shellcheck disable=SC2016,SC2154 # the shells inside instances expand these; stderr comes from helpers

load ../helpers

PARSER=/usr/sbin/apparmor_parser

setup() {
	[[ ${FIRMWARED_VM-} == 1 ]] || fail 'run me by test/vm/bats' || return
	fw_setup
	ROOTFS=$(busybox_root)
	fw_ok firmware add "$ROOTFS" --name fw
}

teardown() {
	umount "$PARSER" 2>/dev/null || true
	chmod 755 "$PARSER"
	fw_teardown
}

label() { tr -d '\0' <"/proc/$1/attr/apparmor/current"; }

# loaded: how many of our profiles the kernel has.
loaded() { grep -c '^firmwared_' /sys/kernel/security/apparmor/profiles || true; }

none_loaded() { (($(loaded) == 0)); }

# harm: attempts, as root of an instance; prints those that succeed. Each has a mount
# namespace of its own.
harm() {
	local list
	list=$(
		cat <<-'LIST'
			echo h >/proc/sysrq-trigger
			mount -t proc p /tmp/m && echo h >/tmp/m/sysrq-trigger
			echo '|/x' >/proc/sys/kernel/core_pattern
			mount -t proc p /tmp/m && echo 1 >/tmp/m/sys/vm/drop_caches
			mount --bind /proc/sys/kernel /tmp/m && echo x >/tmp/m/core_pattern
			touch /tmp/f && mount --bind /proc/sys/kernel/core_pattern /tmp/f && echo x >/tmp/f
			mount --bind /proc/sys/kernel /sys/fs/cgroup && echo 1 >/sys/fs/cgroup/panic_on_oops
			mount -o remount,rw /sys; echo x >/sys/kernel/uevent_helper || echo mem >/sys/power/state
			mount -t sysfs s /tmp/m && mount -o remount,rw /tmp/m && echo mem >/tmp/m/power/state
			mount -t debugfs d /tmp/m && ls /tmp/m/tracing
			mount -t devtmpfs d /tmp/m && rm /tmp/m/full
			mount -t cgroup -o none,name=x c /tmp/m && echo /x >/tmp/m/release_agent
			mount -t binfmt_misc b /tmp/m && echo x >/tmp/m/register
			mknod /dev/lost b 254 0; head -c1 /dev/lost
			mknod /dev/mem c 1 1; head -c1 /dev/mem
			dmesg
		LIST
	)
	fw_ok run fw --rm -- /bin/sh -c 'mkdir /tmp/m; cat /proc/self/attr/apparmor/current
		printf "%s\n" "$1" | while IFS= read -r it; do
			! unshare -m /bin/sh -c "$it" >/tmp/out 2>&1 </dev/null || echo "open: $it"
			echo tried
		done' sh "$list"
	refute_has "$output" open
	assert_eq 16 "$(grep -c tried <<<"$output")"
	assert_has "$output" '(enforce)'
}

@test "pid 1 is in the shared profile, which goes with the last instance" {
	local name
	fw_ok prepare fw --name one
	fw_ok prepare fw --name two
	fw_ok start one two -- /bin/sleep 1000
	assert_eq 1 "$(loaded)"
	name=$(fw show one --json | jq -r .profile)
	assert_eq "$name (enforce)" "$(label "$(fw get one pid)")"
	assert_eq "$name (enforce)" "$(label "$(fw get two pid)")"
	assert_eq apparmor "$(fw get one walls)"
	fw_ok exec one -- /bin/sh -c 'cat /proc/self/attr/apparmor/current; mknod /dev/lost b 254 0; head -c1 /dev/lost || echo h >/proc/sysrq-trigger || echo kept'
	assert_eq "$name (enforce)"$'\nkept' "$output"
	assert_has "$(fw profile show one)" "profile $name flags="
	fw_ok drop one --force
	assert_eq 1 "$(loaded)"
	assert_eq "$name (enforce)" "$(label "$(fw get two pid)")"
	fw_ok kill two --signal TERM --timeout 1s
	fw_ok drop two
	assert_eq 0 "$(loaded)"
}

@test "a profile is compiled once, also when it was unloaded meanwhile" {
	cp "$PARSER" "$BATS_TEST_TMPDIR/real"
	printf '#!/bin/sh\necho run >>%s/runs\nexec %s/real "$@"\n' "$BATS_TEST_TMPDIR" "$BATS_TEST_TMPDIR" >"$BATS_TEST_TMPDIR/parser"
	chmod 755 "$BATS_TEST_TMPDIR/parser"
	mount --bind "$BATS_TEST_TMPDIR/parser" "$PARSER"
	fw_ok run fw --rm -- /bin/true
	assert_eq 0 "$(loaded)"
	fw_ok run fw --rm -- /bin/true
	assert_eq 1 "$(wc -l <"$BATS_TEST_TMPDIR/runs")"
}

@test "attempts to harm the machine, under AppArmor" {
	harm
	fw_ok run fw --rm -- /bin/sh -c 'cat /proc/self/attr/apparmor/current; echo new >/proc/sys/kernel/hostname; hostname
		echo 1 >/proc/sys/net/ipv4/ip_forward && mkdir /tmp/c && mount -t cgroup2 c /tmp/c && mkdir /tmp/c/below && rmdir /tmp/c/below
		mount --bind /sys/fs /sys/fs && mount -t proc proc /proc && mount -t tmpfs t /mnt 2>/dev/null; echo fine'
	assert_has "$output" '(enforce)'
	assert_has "$output" $'new\nfine'
}

@test "attempts to harm the machine, under AppArmor and in a user namespace" {
	export FIRMWARED_USERNS=on
	harm
	fw_ok run fw --name box -- /bin/true
	assert_eq apparmor+userns "$(fw get box walls)"
}

@test "the attempts are real: unconfined, the same node can be opened" {
	run --separate-stderr fw run fw --rm --unconfined -- /bin/sh -c 'mknod /dev/lost b 254 0; head -c1 /dev/lost | wc -c
		cat /proc/self/attr/apparmor/current; echo h >/proc/sysrq-trigger && echo told'
	assert_eq $'1\nunconfined\ntold' "$output"
}

@test "a template with @{id} is each instance's own; syntax errors and complain mode are told" {
	local id
	export FIRMWARED_PROFILE_DIRS=$BATS_TEST_TMPDIR/profiles
	mkdir "$FIRMWARED_PROFILE_DIRS"
	printf 'profile @{profile} flags=(attach_disconnected) {\n  file, capability, network, mount, umount, signal, ptrace,\n  audit deny /etc/@{id} w,\n}\n' \
		>"$FIRMWARED_PROFILE_DIRS/own.profile"
	printf 'profile @{profile} {\n  file\n}\n' >"$FIRMWARED_PROFILE_DIRS/broken.profile"
	printf 'profile @{profile} flags=(complain) {\n  file,\n}\n' >"$FIRMWARED_PROFILE_DIRS/weak.profile"
	fw_ok prepare fw --name box --set profile=own
	id=$(fw get box id)
	fw_ok start box -- /bin/sh -c 'echo >/etc/$0 || exec sleep 1000' "$id"
	assert_eq "firmwared_$id (enforce)" "$(label "$(fw get box pid)")"
	assert_has "$(fw profile show box)" "deny /etc/$id w"
	fw_ok kill box
	assert_eq 0 "$(loaded)"
	assert_has "$(fw profile show box)" "deny /etc/$id w"
	# Nor is it left by a program that ends by itself.
	fw_ok start box -- /bin/true
	wait_until 60 none_loaded
	fw_ok set box profile=broken
	fw_fails 1 'cannot compile profile template broken' start box
	fw_ok set box profile=weak
	fw_fails 1 'does not enforce' start box
	fw_ok drop box
	assert_eq 0 "$(loaded)"
}

@test "gc: profiles of instances that are gone, and of state directories that are gone" {
	local name id stale
	export FIRMWARED_PROFILE_DIRS=$BATS_TEST_TMPDIR/profiles
	mkdir "$FIRMWARED_PROFILE_DIRS"
	cp "$REPO/profiles/firmware.profile" "$FIRMWARED_PROFILE_DIRS"
	printf 'profile @{profile} {\n  file, capability, network, mount, umount, signal, ptrace,\n  deny /@{id} w,\n}\n' >"$FIRMWARED_PROFILE_DIRS/own.profile"
	fw_ok prepare fw --name one
	fw_ok prepare fw --name two --set profile=own
	fw_ok start one two -- /bin/sleep 1000
	name=$(fw show one --json | jq -r .profile) id=$(fw get two id)
	assert_eq 2 "$(loaded)"

	# Another state directory, deleted without firmwared.
	"$FIRMWARED" --root "$BATS_TEST_TMPDIR/other" run "$ROOTFS" --name box -- /bin/true 3>&-
	stale=$(grep -o '^firmwared_[^ ]*' /sys/kernel/security/apparmor/profiles | grep -vx -e "$name" -e "firmwared_$id")
	"$FIRMWARED" --root "$BATS_TEST_TMPDIR/other" profile show box 3>&- | grep -q "profile $stale "
	fw_ok gc # of one that is there it is no business
	assert_eq '' "$output"
	assert_eq 3 "$(loaded)"
	awk -v below="$BATS_TEST_TMPDIR/other" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r | xargs -r umount -l
	rm -rf "$BATS_TEST_TMPDIR/other"
	fw_ok gc --dry-run
	assert_has "$output" "$stale"
	refute_has "$output" "$name"
	refute_has "$output" "$id"
	assert_eq 3 "$(loaded)"
	fw_ok gc
	assert_has "$output" "$stale"
	assert_eq 2 "$(loaded)"

	# Instances whose end and whose drop nobody saw.
	assert_eq "$name (enforce)" "$(label "$(fw get one pid)")"
	kill -KILL "$(fw show two --json | jq .supervisor_pid)"
	wait_until 60 box_ready two
	fw_ok gc
	assert_eq 1 "$(loaded)"
	fw_ok gc
	assert_eq '' "$output"
	kill -KILL "$(fw show one --json | jq .supervisor_pid)"
	wait_until 60 box_ready one
	rm "$FW_ROOT"/run/instances/*/walls.json
	fw_ok gc
	assert_has "$output" "$name"
	assert_eq 0 "$(loaded)"
	fw_ok start one -- /bin/sleep 1000
	assert_eq "$name (enforce)" "$(label "$(fw get one pid)")"
}

box_ready() { [[ $(fw get "$1" state) == ready ]]; }

@test "the order to enter a profile is taken by both of the kernel's files" {
	run "$REPO/build/apparmor.test" -test.v -test.run '^TestEnterByEachPath$'
	assert_eq 0 "$status" "$output"
	assert_has "$output" '--- PASS: TestEnterByEachPath'
}

@test "a missing parser is named: required fails, auto takes a user namespace" {
	chmod 644 "$PARSER"
	fw_ok prepare fw --name box
	assert_has "$stderr" 'the program apparmor_parser is missing'
	fw_ok start box -- /bin/sleep 1000
	assert_eq userns "$(fw get box walls)"
	fw_ok kill box
	FIRMWARED_APPARMOR=required fw_fails 1 'AppArmor is required (setting apparmor), but the program apparmor_parser is missing' start box
}

box_is() { [[ $(fw get box state) == "$1" ]]; }

@test "busybox init that mounts everything itself boots under AppArmor, and powers off" {
	local final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	printf '%s\n' '::sysinit:/bin/mount -t proc proc /proc' '::sysinit:/bin/mount -t sysfs sysfs /sys' \
		'::sysinit:/bin/mount -t devtmpfs devtmpfs /dev' '::sysinit:/bin/mount -t devpts devpts /dev/pts' \
		'::sysinit:/bin/mount -t tmpfs tmpfs /tmp' '::sysinit:/bin/echo busybox is up' '::once:/bin/poweroff' >"$final/etc/inittab"
	fw_ok firmware add "$final" --name init
	fw_ok prepare init --name box
	fw_ok start box
	wait_until 60 box_is ready
	assert_has "$(fw logs box)" 'busybox is up'
	assert_eq poweroff "$(fw get box exit_reason)"
}
