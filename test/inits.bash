# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2034 # INIT_LIMIT is for those who load this
#
# Real inits as pid 1, for test/inits.bats and test/vm/inits.bats, after helpers.bash: each
# boots up to a login prompt and is powered off from inside.

# In seconds, for each half.
INIT_LIMIT=${INIT_LIMIT:-60}

says() { fw logs box | grep -q -- "$1"; }
box_is() { [[ $(fw get box state) == "$1" ]]; }

# boots WALLS FIRMWARE SETTING...: an instance "box" gets to its prompt, under these walls.
boots() {
	local walls=$1
	fw_ok firmware add "$2" --name init
	fw_ok prepare init --name box --set hostname=booted
	fw_ok start box
	wait_until "$INIT_LIMIT" says 'login: *$' || fail "no prompt: $(fw logs box)" || return
	assert_eq "$walls" "$(fw get box walls)"
}

# powers_off COMMAND...: inside; then the instance is at its end, in order.
powers_off() {
	fw exec box -- "$@" </dev/null >&2 || true # the answer may come too late
	wait_until "$INIT_LIMIT" box_is ready || fail "still on: $(fw logs box)" || return
	assert_eq poweroff "$(fw get box exit_reason)"
}

# boot_busybox WALLS: an init that mounts all by itself.
boot_busybox() {
	local final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	printf '%s\n' '::sysinit:/bin/mount -t proc proc /proc' '::sysinit:/bin/mount -t sysfs sysfs /sys' \
		'::sysinit:/bin/mount -t devtmpfs devtmpfs /dev' '::sysinit:/bin/mkdir -p /dev/pts' \
		'::sysinit:/bin/mount -t devpts devpts /dev/pts' '::sysinit:/bin/mount -t tmpfs tmpfs /tmp' \
		'::sysinit:/bin/hostname mine' '::respawn:/bin/login' >"$final/etc/inittab"
	boots "$1" "$final" && says 'mine login' || return
	powers_off /bin/poweroff
}

# boot_sysvinit WALLS
boot_sysvinit() {
	local image
	image=$("$REPO/test/debian-image" sysvinit 3>&-) && boots "$1" "$image" || return
	assert_has "$(fw exec box -- /sbin/runlevel)" 'N 2' || return
	powers_off /sbin/shutdown -h now || return
	says 'Will now halt'
}

# boot_systemd WALLS: no unit may have failed, but for one that shows the machine's FUSE mounts.
boot_systemd() {
	local image failed
	image=$("$REPO/test/debian-image" systemd 3>&-) && boots "$1" "$image" || return
	wait_until "$INIT_LIMIT" settled || fail "$(fw exec box -- systemctl list-jobs)" || return
	failed=$(fw exec box -- systemctl --failed --no-legend --plain | grep -v ^sys-fs-fuse-connections) || true
	[[ -z $failed ]] || fail "failed units: $failed"$'\n'"$(fw exec box -- journalctl --no-pager -p warning)" || return
	assert_eq active "$(fw exec box -- systemctl is-active multi-user.target)" || return
	powers_off systemctl poweroff || return
	says 'Reached target.*poweroff.target'
}

settled() { [[ $(fw exec box -- systemctl is-system-running) =~ ^(running|degraded)$ ]]; }
