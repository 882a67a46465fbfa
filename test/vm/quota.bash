# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# For tests inside the virtual machine, before fw_setup: a state directory on a file system that
# keeps project quotas. To be unmounted after fw_teardown.
quota_root() {
	local dir=$BATS_TEST_TMPDIR
	mkdir -p "$dir/root"
	truncate -s 2G "$dir/quota.img"
	mkfs.ext4 -q -O quota,project -E quotatype=prjquota "$dir/quota.img"
	mount -o loop,prjquota "$dir/quota.img" "$dir/root"
}
