#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# What bad input gets: one clear line, the right exit status, nothing left.

load helpers

setup() { fw_setup "${ODD:-root}"; }
teardown() {
	[[ -z ${SMALL:-} ]] || {
		fw_drop_all || true
		umount "$SMALL"
	}
	fw_teardown
}

# nothing_registered: neither a firmware nor an instance.
nothing_registered() {
	assert_eq '[]' "$(fw firmware list --json)"
	assert_eq '[]' "$(fw list --json)"
}

# evil_hook NAME: a lower hook from stdin, that describes itself rightly, in a
# hook directory of the test's own.
evil_hook() {
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:$REPO/hooks
	mkdir -p "$BATS_TEST_TMPDIR/hooks"
	{
		printf '#!/bin/bash\n[[ $FIRMWARED_ACTION != describe ]] || { printf "api=1\\nlayers=lower\\nsummary=test\\n"; exit 0; }\n'
		printf '[[ $FIRMWARED_ACTION != probe ]] || exit 0\n'
		cat
	} >"$BATS_TEST_TMPDIR/hooks/$1.hook"
	chmod 755 "$BATS_TEST_TMPDIR/hooks/$1.hook"
}

@test "a missing path" {
	fw_fails 1 'no such file or directory' firmware add "$BATS_TEST_TMPDIR/missing"
	nothing_registered
}

@test "a file that no hook can mount" {
	head -c 100000 /dev/urandom >"$BATS_TEST_TMPDIR/noise"
	fw_fails 1 'no hook can mount it' firmware add "$BATS_TEST_TMPDIR/noise"
	: >"$BATS_TEST_TMPDIR/empty"
	fw_fails 1 'no hook can mount it' firmware add "$BATS_TEST_TMPDIR/empty"
	mkfifo "$BATS_TEST_TMPDIR/fifo"
	fw_fails 1 'neither a directory nor an image' firmware add "$BATS_TEST_TMPDIR/fifo"
	nothing_registered
}

@test "an image that is damaged behind its magic" {
	new_image "$BATS_TEST_TMPDIR/img"
	dd if=/dev/urandom of="$BATS_TEST_TMPDIR/img" bs=1k seek=2 count=60 conv=notrunc status=none
	fw_ok firmware add "$BATS_TEST_TMPDIR/img" --name img
	run --separate-stderr fw prepare img
	assert_eq 1 "$status"
	assert_has "$stderr" 'firmware img'
	assert_eq '[]' "$(fw list --json)"
}

@test "a directory without the command" {
	mkdir "$BATS_TEST_TMPDIR/empty"
	fw_ok firmware add "$BATS_TEST_TMPDIR/empty" --name fw
	fw_ok prepare fw --name box
	fw_fails 1 '/sbin/init' start box
	assert_eq ready "$(fw get box state)"
}

@test "two instances of one name, and two firmwares of one name" {
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fw_fails 1 'there is one of that name' prepare fw --name box
	fw_fails 1 'another one is named fw' firmware add "$(ext2_image)" --name fw
	fw_fails 1 'one name' prepare fw --name x --count 2
}

@test "an ambiguous prefix and an unknown name" {
	local i
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --count 17 # two of them share their first digit
	for i in 0 1 2 3 4 5 6 7 8 9 a b c d e f; do
		if (($(fw list --json | jq "[.[] | select(.id | startswith(\"$i\"))] | length") > 1)); then
			fw_fails 1 'is ambiguous: it fits' start "$i" -- /bin/true
			break
		fi
	done
	fw_fails 1 'no instance named "nosuch"' start nosuch
	fw_fails 1 'no firmware named "nosuch"' prepare nosuch
}

@test "starting a started one, killing a ready one, dropping a started one" {
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fw_ok kill box
	assert_has "$stderr" 'was not running'
	fw_ok start box -- /bin/sleep 1000
	fw_fails 1 'started already' start box -- /bin/sleep 1000
	fw_fails 1 'kill it first, or drop --force' drop box
	assert_eq started "$(fw get box state)"
	fw_ok drop box --force
	fw_fails 1 'no instance named' drop box
}

@test "a name with a slash, a space, a leading dash, or too long" {
	local name
	fw_ok firmware add "$(busybox_root)" --name fw
	for name in a/b 'a b' ../x . '' $'a\nb' "$(printf 'x%.0s' {1..64})"; do
		run --separate-stderr fw prepare fw --name="$name"
		[[ -z $name ]] || assert_eq 1 "$status" "name ${name@Q}"
		[[ -z $name ]] || assert_has "$stderr" 'is not a name'
	done
	fw_fails 1 'is not a name' prepare fw --name=-x
	fw_fails 1 'is not a name' firmware add "$(ext2_image)" --name 'a b'
}

@test "wrong usage is exit 2 and one line" {
	fw_fails 2 'no command "nosuch"' nosuch
	fw_fails 2 'nosuch' list --nosuch
	fw_fails 2 'no command' firmware nosuch
	fw_fails 2 'usage:' prepare
	fw_fails 2 'usage:' firmware add a b
	fw_fails 2 'is no signal' kill --signal NOSUCH x
	fw_fails 2 'K=V' firmware add "$(busybox_root)" --option nonsense
}

@test "firmware paths with every odd character" {
	local name
	for name in 'with space' 'co:lon' 'com,ma' 'back\slash' $'new\nline' "quo'te\"s" '-dash' '$dollar*' "$(printf 'long%.0s' {1..50})"; do
		new_root "$BATS_TEST_TMPDIR/$name"
		run --separate-stderr fw run "$BATS_TEST_TMPDIR/$name" --rm -- /bin/cat /etc/firmware
		assert_eq "0 pristine" "$status $output" "directory ${name@Q}: $stderr"
		rm -r "${BATS_TEST_TMPDIR:?}/$name"
		new_image "$BATS_TEST_TMPDIR/$name"
		run --separate-stderr fw run "$BATS_TEST_TMPDIR/$name" --rm -- /bin/cat /etc/firmware
		assert_eq "0 pristine" "$status $output" "image ${name@Q}: $stderr"
		rm "$BATS_TEST_TMPDIR/$name"
	done
}

@test "a relative firmware path with a leading dash" {
	cd "$BATS_TEST_TMPDIR"
	new_root ./-final
	fw_ok run ./-final --rm -- /bin/true
}

odd_root() {
	local name=$1
	FW_ROOT=$BATS_TEST_TMPDIR/$name
	mkdir -p "$FW_ROOT"
	fw_ok firmware add "$(ext2_image)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'echo x >/file; exec sleep 1000'
	wait_until 5 test -s "$FW_ROOT/workspaces/$(fw get box id)/rw/file"
	assert_eq 1 "$(fw list --json | jq length)"
	fw_ok drop box --force
	fw_ok firmware remove fw
	assert_no_leaks
	rm -r "$FW_ROOT"
}

@test "state directories with every odd character" {
	local name
	for name in 'with space' 'co:lon' 'com,ma' 'back\slash' $'new\nline' "quo'te" "$(printf 'long%.0s' {1..50})"; do
		odd_root "$name"
	done
}

@test "a full disk: prepare says so and leaves nothing, and there is room again later" {
	SMALL=$FW_ROOT
	mount -t tmpfs -o size=400k tmpfs "$SMALL"
	fw_ok firmware add "$(busybox_root)" --name fw
	head -c 10000000 /dev/zero >"$SMALL/filler" 2>/dev/null || true
	run --separate-stderr fw prepare fw --name box
	assert_eq 1 "$status"
	assert_has "$stderr" 'no space left on device'
	rm "$SMALL/filler"
	assert_eq '[]' "$(fw list --json)"
	fw_ok prepare fw --name box
}

@test "a read-only state directory" {
	SMALL=$FW_ROOT
	mount -t tmpfs -o ro tmpfs "$SMALL"
	fw_fails 1 'read-only file system' firmware add "$(busybox_root)"
	fw_ok list
}

@test "a state directory on an overlay: what to do is said" {
	mkdir "$BATS_TEST_TMPDIR"/{l,u,w}
	SMALL=$FW_ROOT
	mount -t overlay overlay -o "lowerdir=$BATS_TEST_TMPDIR/l,upperdir=$BATS_TEST_TMPDIR/u,workdir=$BATS_TEST_TMPDIR/w" "$SMALL"
	fw_ok firmware add "$(busybox_root)" --name fw
	run --separate-stderr fw prepare fw
	assert_eq 1 "$status"
	assert_has "$stderr" 'give --root a directory on a disk or a tmpfs'
	assert_eq '[]' "$(fw list --json)"
}

@test "not root" {
	chmod 755 "$BATS_TEST_TMPDIR" "$BATS_RUN_TMPDIR"
	cp "$FIRMWARED" "$BATS_TEST_TMPDIR/firmwared"
	run_err 1 'run it as root' setpriv --reuid=65534 --clear-groups "$BATS_TEST_TMPDIR/firmwared" --root "$BATS_TEST_TMPDIR/other" list
}

@test "a hook that is missing, masked, not executable, or writable by others" {
	local hooks=$BATS_TEST_TMPDIR/hooks
	fw_fails 1 'nosuch' firmware add "$(busybox_root)" --hook nosuch
	evil_hook evil <<<'exit 1'
	chmod 644 "$hooks/evil.hook"
	fw_fails 1 'evil.hook' firmware add "$(busybox_root)" --hook evil
	chmod 777 "$hooks/evil.hook"
	fw_fails 1 'evil.hook' firmware add "$(busybox_root)" --hook evil
	chmod 755 "$hooks/evil.hook"
	chown 65534 "$hooks/evil.hook"
	fw_fails 1 'evil.hook' firmware add "$(busybox_root)" --hook evil
	rm "$hooks/evil.hook"
	ln -s /dev/null "$hooks/mount.hook"
	fw_fails 1 'mount' firmware add "$(busybox_root)" --hook mount
	nothing_registered
}

@test "a hook that fails: its words, and nothing left" {
	evil_hook evil <<<'mount -t tmpfs tmpfs "$FIRMWARED_RO"; echo "the dog ate it" >&2; umount "$FIRMWARED_RO" 2>/dev/null; exit 1'
	fw_ok firmware add "$(busybox_root)" --hook evil --name fw
	run --separate-stderr fw prepare fw
	assert_eq 1 "$status"
	assert_has "$stderr" 'the dog ate it'
	assert_has "$stderr" evil
	assert_eq '[]' "$(fw list --json)"
}

@test "a hook that hangs is ended at its time limit" {
	evil_hook evil <<<'[[ $FIRMWARED_ACTION == unmount ]] && exit 0; trap "" TERM; sleep 1000 & sleep 1000; sleep 1000'
	export FIRMWARED_HOOK_TIMEOUTS=evil=1s
	fw_ok firmware add "$(busybox_root)" --hook evil --name fw
	run --separate-stderr timeout 20 "$FIRMWARED" --root "$FW_ROOT" prepare fw
	assert_eq 1 "$status"
	assert_has "$stderr" '1s'
	assert_eq '[]' "$(fw list --json)"
	assert_eq '' "$(leaked_processes)"
}

@test "a hook that floods stderr and prints rubbish" {
	evil_hook evil <<<'[[ $FIRMWARED_ACTION == unmount ]] && exit 0; head -c 30000000 /dev/urandom >&2; printf "\nlast words\n" >&2; head -c 1000 /dev/urandom; exit 1'
	fw_ok firmware add "$(busybox_root)" --hook evil --name fw
	run --separate-stderr fw prepare fw
	assert_eq 1 "$status"
	assert_has "$stderr" 'last words'
	[[ ${#stderr} -lt 5000 ]]
	LC_ALL=C
	[[ $stderr != *[[:cntrl:]]* ]]
}

@test "a hook that exits 0 without mounting, or mounts writable" {
	evil_hook evil <<<'exit 0'
	fw_ok firmware add "$(busybox_root)" --hook evil --name fw
	fw_fails 1 'nothing is mounted at' prepare fw
	evil_hook evil <<<'[[ $FIRMWARED_ACTION == unmount ]] && exec umount "$FIRMWARED_RO"; mount -t tmpfs tmpfs "$FIRMWARED_RO"'
	fw_fails 1 'is not read-only' prepare fw
	assert_eq '[]' "$(fw list --json)"
}

@test "a union hook whose union does not write to rw" {
	evil_hook evil <<<'[[ $FIRMWARED_ACTION == unmount ]] && exec umount "$FIRMWARED_UNION"; mount -t tmpfs tmpfs "$FIRMWARED_UNION"'
	sed -i 's/layers=lower/layers=union/' "$BATS_TEST_TMPDIR/hooks/evil.hook"
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_fails 1 'does not land in' prepare fw --union evil
	fw_fails 1 'nosuch' prepare fw --union nosuch
	fw_fails 1 'mounts no union' prepare fw --union squashfs
	assert_eq '[]' "$(fw list --json)"
}

@test "an unmount that is busy names who holds it, and nothing is lost" {
	local pid
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	cd "$(fw get box workspace)/union"
	sleep 1000 3>&- &
	pid=$!
	cd /
	run --separate-stderr fw drop box
	assert_eq 1 "$status"
	assert_has "$stderr" "sleep (pid $pid)"
	assert_eq ready "$(fw get box state)"
	kill "$pid"
	wait "$pid" || true
	fw_ok drop box
}

@test "a broken record is named, and the others work" {
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	echo '{' >"$FW_ROOT/instances/0123456789ab.json"
	run --separate-stderr fw list
	assert_eq 1 "$status"
	assert_has "$stderr" 'broken record'
	assert_has "$stderr" 0123456789ab
	assert_has "$output" box
	fw_ok start box -- /bin/sleep 1000
	fw_ok drop box --force
	rm "$FW_ROOT/instances/0123456789ab.json"
}

@test "a configuration with an unknown key, or one that is missing" {
	printf 'union_hook = "mount"\nnonsense = 1\n' >"$BATS_TEST_TMPDIR/conf"
	fw_fails 1 ':2' --config "$BATS_TEST_TMPDIR/conf" list
	fw_fails 1 'nonsense' --config "$BATS_TEST_TMPDIR/conf" config
	fw_fails 1 'missing' --config "$BATS_TEST_TMPDIR/missing" list
}

@test "a bad sha256, an unknown option, --copy of a directory" {
	fw_fails 1 'its sha256 is' firmware add "$(ext2_image)" --sha256 00
	fw_fails 1 'has no option colour' firmware add "$(ext2_image)" --option colour=red
	fw_fails 1 'are for images' firmware add "$(busybox_root)" --copy
	fw_fails 1 'on a base' firmware add "$(busybox_root)" --base nosuch
	nothing_registered
}

@test "--copy that fails, or is killed, leaves no copy" {
	local pid
	fw_ok firmware add "$(busybox_root)" --name taken
	fw_fails 1 'another one is named taken' firmware add "$(ext2_image)" --copy --name taken
	fw_fails 1 'its sha256 is' firmware add "$(ext2_image)" --copy --sha256 00
	assert_eq '' "$(find "$FW_ROOT/images" -type f)"
	truncate -s 3G "$BATS_TEST_TMPDIR/big"
	mkfs.ext2 -q -F "$BATS_TEST_TMPDIR/big"
	"$FIRMWARED" --root "$FW_ROOT" firmware add "$BATS_TEST_TMPDIR/big" --copy 3>&- &
	pid=$!
	copying() { [[ -n $(find "$FW_ROOT/images" -type f -size +0) ]]; }
	wait_until 5 copying
	kill -KILL "$pid"
	wait "$pid" || true
	fw_ok firmware remove taken # any command that changes something
	assert_eq '' "$(find "$FW_ROOT/images" -type f)"
	rm "$BATS_TEST_TMPDIR/big"
}

@test "a record that lacks what its kind needs is named, too" {
	echo '{"version":1,"id":"0123456789ab","name":"x","path":"/x","hook":"mount","image":true}' >"$FW_ROOT/record"
	fw_ok firmware add "$(ext2_image)" --name img
	mv "$FW_ROOT/record" "$FW_ROOT/firmwares/0123456789ab.json"
	run --separate-stderr fw firmware list
	assert_eq 1 "$status"
	assert_has "$stderr" "lacks the image's checksum"
	assert_has "$output" img
	fw_ok run img --rm -- /bin/true
	rm "$FW_ROOT/firmwares/0123456789ab.json"
}

@test "what a hook left mounted in its state is not emptied with it" {
	local kept=$BATS_TEST_TMPDIR/kept
	mkdir "$kept"
	echo precious >"$kept/file"
	evil_hook evil <<-END
		if [[ \$FIRMWARED_ACTION == unmount ]]; then umount "\$FIRMWARED_RO" || exit 0; exit 0; fi
		mkdir "\$FIRMWARED_STATE/m" && mount --bind '$kept' "\$FIRMWARED_STATE/m"
		mount -t tmpfs -o ro tmpfs "\$FIRMWARED_RO"
	END
	fw_ok firmware add "$(busybox_root)" --hook evil --name fw
	fw_ok prepare fw --name box
	fw_ok drop box
	fw_fails 1 'device or resource busy' firmware remove fw
	assert_eq precious "$(<"$kept/file")"
	umount "$(leaked_mounts | head -n1)"
	fw_ok firmware remove fw
}

@test "mounts inside a firmware directory are named" {
	local final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	mkdir "$final/data"
	mount -t tmpfs tmpfs "$final/data"
	fw_ok firmware add "$final"
	umount "$final/data"
	assert_has "$stderr" "$final/data is a mount of its own"
}
