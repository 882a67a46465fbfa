#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# unmount=plain: when the program unmounts by itself, and when it still asks the hook.

load helpers

setup() {
	fw_setup
	CALLS=$BATS_TEST_TMPDIR/calls
	HOOKS=$BATS_TEST_TMPDIR/hooks
	mkdir "$HOOKS" "$BATS_TEST_TMPDIR/tree"
	cp "$REPO/hooks/mount.hook" "$REPO/hooks/lib.bash" "$HOOKS"
	export FIRMWARED_HOOK_DIRS=$HOOKS
	: >"$CALLS"
}
teardown() { fw_teardown; }

# counted_hook LINE: a lower hook that says unmount=plain and writes down what it is called for; LINE runs in its mount.
counted_hook() {
	cat >"$HOOKS/counted.hook" <<-END
		#!/bin/sh
		echo "\$FIRMWARED_ACTION \${FIRMWARED_REASON:-}" >>"$CALLS"
		case \$FIRMWARED_ACTION in
		describe) printf 'api=1\nlayers=lower\nunmount=plain\n' ;;
		probe) exit 0 ;;
		mount) mount --bind --make-private -o ro "\$FIRMWARED_FIRMWARE" "\$FIRMWARED_RO" || exit 1; $1 ;;
		unmount) rm -f "\$FIRMWARED_STATE/record"; umount "\$FIRMWARED_RO" 2>/dev/null || ! findmnt -n -M "\$FIRMWARED_RO" >&2 || exit 5 ;;
		esac
	END
	chmod 755 "$HOOKS/counted.hook"
}

calls() { grep -v '^describe' "$CALLS" | xargs; }

# mount_and_unmount: one instance comes and goes, then the firmware's lower.
mount_and_unmount() {
	fw_ok firmware add "$BATS_TEST_TMPDIR/tree" --name f
	fw_ok prepare f --name box
	fw_ok drop box
	fw_ok firmware unmount f
}

@test "plain: a mount with nothing on record is unmounted without the hook" {
	counted_hook :
	mount_and_unmount
	assert_eq 'probe mount' "$(calls)"
	assert_eq '' "$(grep "$FW_ROOT/lowers" /proc/self/mountinfo)"
}

@test "plain: a mount with something on record is the hook's to undo" {
	# shellcheck disable=SC2016 # for the hook
	counted_hook 'echo a device >"$FIRMWARED_STATE/record"'
	mount_and_unmount
	assert_eq 'probe mount unmount remove' "$(calls)"
}

@test "plain: two mounts, one upon the other: the hook gets the one that is left" {
	# shellcheck disable=SC2016 # for the hook
	counted_hook 'mount --bind -o ro "$FIRMWARED_RO" "$FIRMWARED_RO"'
	mount_and_unmount
	assert_eq 'probe mount unmount remove' "$(calls)"
}

@test "plain: a mount in use is told by the hook, and named" {
	local ro
	counted_hook :
	fw_ok firmware add "$BATS_TEST_TMPDIR/tree" --name f
	fw_ok prepare f --name box
	fw_ok drop box
	ro=$(echo "$FW_ROOT"/lowers/*/*/ro)
	cd "$ro" || return
	fw_fails 1 'is held by' firmware unmount f
	cd /
	assert_eq 'probe mount unmount remove' "$(calls)"
	fw_ok firmware unmount f
	assert_eq 'probe mount unmount remove' "$(calls)"
}

@test "plain: a mount that fails verification is undone by the hook" {
	# shellcheck disable=SC2016 # for the hook
	counted_hook 'mount -o remount,bind,rw "$FIRMWARED_RO"'
	fw_ok firmware add "$BATS_TEST_TMPDIR/tree" --name f
	fw_fails 1 'is not read-only' prepare f --name box
	assert_eq 'probe mount unmount failed-mount' "$(calls)"
}

@test "plain: the shipped hooks that keep no record say so" {
	for hook in mount squashfs erofs disk; do
		export FIRMWARED_HOOK_DIRS=$REPO/hooks
		fw_ok hook show "$hook" --json
		assert_eq plain "$(jq -r .unmount <<<"$output")" "$hook"
	done
	fw_ok hook show verity --json
	assert_eq hook "$(jq -r .unmount <<<"$output")"
}
