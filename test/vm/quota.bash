# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# For tests inside the virtual machine: a state directory on a file system that keeps project
# quotas. quota_root comes before fw_setup, quota_teardown instead of fw_teardown.

quota_root() {
	local dir=$BATS_TEST_TMPDIR
	mkdir -p "$dir/root"
	truncate -s 2G "$dir/quota.img"
	mkfs.ext4 -q -O quota,project -E quotatype=prjquota "$dir/quota.img"
	mount -o loop,prjquota "$dir/quota.img" "$dir/root"
}

quota_teardown() {
	local status=0
	fw_drop_all || status=1
	fw gc --unused >&2 || status=1
	umount "$FW_ROOT" || status=1
	fw_teardown && return "$status"
}
