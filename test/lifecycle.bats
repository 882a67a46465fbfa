#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# The life of firmwares and instances, from add to drop.

load helpers

setup() { fw_setup; }
teardown() { fw_teardown; }

# state I: the state of an instance.
state() { fw get "$1" state; }

@test "a directory: add, prepare, start, see the rw layer, kill, drop; the firmware stays pristine" {
	local root id sum work
	root=$(busybox_root)
	sum=$(tree_sum "$root")
	fw_ok firmware add "$root" --name fw
	[[ $output =~ ^[0-9a-f]{12}$ ]]
	fw_ok prepare fw --name box
	id=$output
	[[ $id =~ ^[0-9a-f]{12}$ ]]
	assert_eq ready "$(state box)"
	work=$(fw get box workspace)
	for part in ro rw workdir union; do [[ -d $work/$part ]]; done
	fw_ok start box -- /bin/sh -c 'echo changed >/etc/firmware; exec sleep 1000'
	assert_eq started "$(state box)"
	wait_until 5 grep -q changed "$work/rw/etc/firmware"
	assert_eq changed "$(<"$work/union/etc/firmware")"
	assert_eq pristine "$(<"$work/ro/etc/firmware")"
	fw_ok kill box
	assert_eq ready "$(state box)"
	assert_eq changed "$(<"$work/rw/etc/firmware")"
	fw_ok drop box
	assert_eq '' "$(fw list --json | jq -r '.[].name')"
	[[ ! -e $work ]]
	assert_eq "$sum" "$(tree_sum "$root")"
}

@test "an image: two instances see their own changes only, on one loop device; the image stays pristine" {
	local image sum a b loops
	image=$(ext2_image)
	sum=$(tree_sum "$image")
	fw_ok firmware add "$image" --name img
	fw_ok prepare img --count 2
	a=${lines[0]} b=${lines[1]}
	loops=$(leaked_loops | wc -l)
	assert_eq 1 "$loops" 'loop devices'
	fw_ok run img --rm -- /bin/cat /etc/firmware
	assert_eq pristine "$output"
	fw_ok start "$a" -- /bin/sh -c 'echo a >/etc/firmware; exec sleep 1000'
	fw_ok start "$b" -- /bin/sh -c 'echo b >/etc/firmware; exec sleep 1000'
	wait_until 5 grep -qx a "$(fw get "$a" workspace)/rw/etc/firmware"
	wait_until 5 grep -qx b "$(fw get "$b" workspace)/rw/etc/firmware"
	assert_eq 1 "$(leaked_loops | wc -l)" 'loop devices'
	fw_ok drop --force "$a" "$b"
	fw_ok firmware remove img
	assert_eq "$sum" "$(tree_sum "$image")"
}

@test "adding the same directory or image content again gives the same firmware" {
	local root image first
	root=$(busybox_root) image=$(ext2_image)
	fw_ok firmware add "$root"
	first=$output
	fw_ok firmware add "$root/../busybox/."
	assert_eq "$first" "$output"
	fw_ok firmware add "$image" --name img
	first=$output
	cp --sparse=always "$image" "$BATS_TEST_TMPDIR/copy.img"
	fw_ok firmware add "$BATS_TEST_TMPDIR/copy.img"
	assert_eq "$first" "$output"
	assert_eq 2 "$(fw firmware list --json | jq length)"
	fw_fails 1 'registered already as img' firmware add "$image" --name other
}

@test "a firmware on a base: both are seen, the top one wins, and the base cannot go first" {
	local patch=$BATS_TEST_TMPDIR/patch
	mkdir -p "$patch/etc"
	echo patched >"$patch/etc/firmware"
	fw_ok firmware add "$(ext2_image)" --name base
	fw_ok firmware add "$patch" --base base --name top
	fw_ok run top --rm -- /bin/sh -c 'cat /etc/firmware; ls /etc'
	assert_has "$output" patched
	assert_has "$output" passwd
	fw_fails 1 'in use by firmware top' firmware remove base
	assert_eq base "$(fw firmware show top --json | jq -r .base)"
	fw_ok firmware remove top
	fw_ok firmware remove base
}

@test "adding an image on a terminal shows a progress bar, and elsewhere none" {
	truncate -s 1G "$BATS_TEST_TMPDIR/img"
	mkfs.ext2 -q -F "$BATS_TEST_TMPDIR/img"
	fw_ok firmware add "$BATS_TEST_TMPDIR/img"
	assert_eq '' "$stderr"
	fw_ok firmware remove "$output"
	run script -qec "'$FIRMWARED' --root '$FW_ROOT' firmware add '$BATS_TEST_TMPDIR/img'" /dev/null </dev/null
	assert_has "$output" 'sha256'
	assert_has "$output" '%'
	rm "$BATS_TEST_TMPDIR/img"
}

@test "--copy keeps a copy of the image, which goes with the firmware" {
	local image=$BATS_TEST_TMPDIR/it.img
	new_image "$image"
	fw_ok firmware add "$image" --copy --name img
	rm "$image"
	fw_ok run img --rm -- /bin/true
	fw_ok firmware remove img
	assert_eq '' "$(find "$FW_ROOT/images" -type f)"
}

@test "an image that changed or is gone is said so by prepare and start" {
	local image=$BATS_TEST_TMPDIR/it.img
	new_image "$image"
	fw_ok firmware add "$image" --name img
	touch "$image"
	fw_ok prepare img --name box # a new time is no new content
	fw_ok drop box
	fw_ok firmware unmount img
	printf x >>"$image"
	fw_fails 1 'has changed since it was added' prepare img
	truncate -s -1 "$image"
	fw_ok prepare img --name box
	printf x >>"$image" # overwritten in place under a mounted instance
	fw_fails 1 'mounted instances of it may be broken: box' start box -- /bin/true
	truncate -s -1 "$image"
	mv "$image" "$image.away"
	fw_ok start box -- /bin/true # it goes on with what is mounted
	assert_has "$stderr" 'is gone'
	fw_ok drop --force box
	fw_ok firmware unmount img
	fw_fails 1 'is gone' prepare img
	assert_eq '' "$(fw list --json | jq -r '.[].name')"
}

@test "a directory that was deleted and made anew is a new generation beside the old one" {
	local final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	fw_ok firmware add "$final" --name fw
	fw_ok prepare fw --name old
	fw_ok start old -- /bin/sleep 1000
	rm -rf "$final"
	new_root "$final"
	echo second >"$final/etc/firmware"
	fw_ok run fw --rm -- /bin/cat /etc/firmware
	assert_eq second "$output"
	assert_eq 2 "$(fw firmware show fw --json | jq '.mounts | length')"
	assert_eq started "$(state old)"
	fw_fails 1 'deleted and made anew: restart it' remount old
	fw_ok restart old
	assert_eq second "$(<"$(fw get old workspace)/union/etc/firmware")"
	assert_eq 1 "$(fw firmware show fw --json | jq '.mounts | length')"
}

@test "remount shows a replaced file, as in the tutorial; the control shows why it is needed" {
	local final=$BATS_TEST_TMPDIR/final union
	new_root "$final"
	echo plop >"$final/greetings"
	fw_ok firmware add "$final" --name fw
	fw_ok prepare fw --name box
	union=$(fw get box workspace)/union
	fw_ok start box -- /bin/sleep 1000
	assert_eq plop "$(<"$union/greetings")"
	rm "$final/greetings"
	echo moo >"$final/greetings"
	assert_eq plop "$(<"$union/greetings")"
	fw_ok remount box
	assert_eq moo "$(<"$union/greetings")"
	fw_ok kill box
	rm "$final/greetings"
	echo third >"$final/greetings"
	fw_ok remount box
	assert_eq third "$(<"$union/greetings")"
}

@test "restart keeps the rw layer and the options of the start" {
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box --env WORD=hello -- /bin/sh -c 'echo $WORD >>/seen; exec sleep 1000'
	wait_until 5 test -s "$FW_ROOT/workspaces/$(fw get box id)/rw/seen"
	fw_ok restart box
	two() { [[ $(grep -c hello "$1") == 2 ]]; }
	wait_until 5 two "$FW_ROOT/workspaces/$(fw get box id)/rw/seen"
}

@test "drop --keep leaves the rw layer and says where" {
	local kept
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'echo kept >/kept'
	wait_until 5 test -s "$FW_ROOT/workspaces/$(fw get box id)/rw/kept"
	fw_ok kill box
	fw_ok drop box --keep
	kept=$output
	assert_eq kept "$(<"$kept/kept")"
}

@test "several objects, --all, ids, unique prefixes and names" {
	local a b
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --count 3
	a=${lines[0]} b=${lines[1]}
	fw_ok start "$a" "$b" -- /bin/sleep 1000
	assert_eq 2 "$(fw list --json | jq '[.[] | select(.state == "started")] | length')"
	assert_eq "$a" "$(fw get "${a:0:8}" id)"
	assert_eq "$a" "$(fw get "$(fw get "$a" name)" id)"
	[[ $(fw get "$a" name) =~ ^[a-z]+_[a-z]+$ ]]
	fw_ok kill --all
	assert_eq 0 "$(fw list --json | jq '[.[] | select(.state == "started")] | length')"
	fw_ok show --all
	fw_ok drop --all
	assert_eq 0 "$(fw list --json | jq length)"
	fw_fails 2 'usage:' drop
	fw_fails 2 'not both' drop --all box
}

@test "the JSON of list and show has the promised names" {
	local key
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box --set note='two words'
	fw_ok start box -- /bin/sleep 1000
	for key in id name state firmware firmware_id workspace pid exit_code exit_reason created started union_hook ephemeral properties; do
		assert_eq true "$(fw list --json | jq ".[0] | has(\"$key\")")" "list: $key"
		assert_eq true "$(fw show box --json | jq "has(\"$key\")")" "show: $key"
	done
	for key in id name path kind hook options base sha256 state instances mounts; do
		assert_eq true "$(fw firmware show fw --json | jq "has(\"$key\")")" "firmware show: $key"
	done
	assert_eq box "$(fw firmware show fw --json | jq -r '.instances[0]')"
	assert_eq true "$(fw show box --json | jq '.pid > 1')"
	fw_ok drop --force box
	fw_ok firmware remove fw
	assert_eq '[]' "$(fw list --json)"
	assert_eq '[]' "$(fw firmware list --json)"
}

@test "properties: get, set, unset, custom ones, lists; they persist" {
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box --set cmdline='/bin/sleep 1000'
	assert_eq '/bin/sleep 1000' "$(fw get box cmdline)"
	fw_ok start box
	assert_eq started "$(state box)"
	fw_ok set box ticket=4711 env='["A=x y"]' hostname=nas
	assert_eq 4711 "$(fw get box ticket)"
	assert_eq 'A=x y' "$(fw get box env --json | jq -r '.[0]')"
	fw_ok restart box
	assert_eq 'A=x y' "$(tr '\0' '\n' <"/proc/$(fw get box pid)/environ" | grep ^A=)"
	fw_ok set box ticket=
	fw_fails 1 'has no property "ticket"' get box ticket
	fw_fails 1 'cannot be set' set box pid=1
	fw_fails 1 'is none of all, dev, none' set box api_mounts=some
	fw_fails 2 'is no property' set box nonsense
}

@test "at most one mount an instance in the host's table, and the state directory's own" {
	local before
	own() { grep -cF "$FW_ROOT" /proc/self/mountinfo; } # other programs mount, too
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw
	before=$(own)
	fw_ok prepare fw --count 5
	assert_eq $((before + 5)) "$(own)"
	fw_ok start --all -- /bin/sleep 1000
	assert_eq $((before + 5)) "$(own)"
	fw_ok drop --force --all
	fw_ok firmware unmount fw
	assert_eq '' "$(leaked_mounts)"
}

@test "a union carries the label firmwared_<id>" {
	local id
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
	id=$(fw get box id)
	assert_eq "firmwared_$id" "$(findmnt -no SOURCE -- "$(fw get box workspace)/union")"
}

@test "a firmware without /dev, /proc and /sys gets them in the instance, not in the rw layer" {
	local bare=$BATS_TEST_TMPDIR/bare
	mkdir -p "$bare/bin"
	cp /bin/busybox "$bare/bin/sh"
	fw_ok firmware add "$bare" --name bare
	fw_ok prepare bare --name box
	fw_ok start box -- /bin/sh -c 'test -c /dev/null && test -r /proc/self/stat && test -d /sys/class && exec sleep 1000'
	assert_eq started "$(state box)"
	assert_eq '' "$(find "$(fw get box workspace)/rw" -mindepth 1)"
	assert_eq '' "$(find "$bare" -name dev -o -name proc -o -name sys)"
}
