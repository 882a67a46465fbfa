#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# snapshot, rollback, clone: copies of what an instance wrote.

load helpers

setup() {
	fw_setup
	final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	mkdir -p "$final/app/sub"
	echo old >"$final/app/data"
	echo old >"$final/app/sub/file"
}

teardown() {
	if [[ ${small:-} ]]; then
		fw_drop_all
		umount "$FW_ROOT"
	fi
	fw_teardown
}

with_box() {
	fw_ok firmware add "$final" --name fw
	fw_ok prepare fw --name box
	space=$(fw get box workspace)
}

inside() {
	fw_ok start box --attach -- /bin/sh -c "$1"
}

# nothing_half: no copy that was to come or to go is left.
nothing_half() {
	! compgen -G "$FW_ROOT/workspaces/*/rw.*" && ! compgen -G "$FW_ROOT/workspaces/*/snapshots/.*[!.]*"
}

# layer DIR: one checksum of a rw layer.
layer() { tree_sum "$1"; }

@test "back to a snapshot: changed, added, deleted and replaced paths; the snapshot stays" {
	local before
	with_box
	inside 'echo mine >/app/data; rm -r /app/sub; mkdir /app/sub; echo own >/app/sub/own; mkfifo /pipe; ln -s /etc /link; ln /app/data /app/twin; chmod 4711 /app/data'
	before=$(fw diff box) sum=$(layer "$space/rw")
	fw_ok snapshot box clean
	assert_eq clean "$output"
	inside 'rm -r /app /pipe; echo later >/later; chmod 700 /'
	fw_ok rollback box clean
	assert_eq '' "$output$stderr"
	assert_eq "$before" "$(fw diff box)"
	assert_eq "$sum" "$(layer "$space/rw")"
	inside 'cat /app/data /app/twin /app/sub/*; ls -d /later; true'
	assert_has "$output" $'mine\r\nmine\r\nown\r'
	fw_ok rollback box clean
	assert_eq "$before" "$(fw diff box)"
	nothing_half
}

@test "list, --json, show, names, remove; reset leaves them, drop takes them" {
	with_box
	inside 'echo mine >/app/data'
	fw_ok snapshot box --list --json
	assert_eq '[]' "$output"
	fw_ok snapshot box first
	fw_ok snapshot box
	[[ $output =~ ^[0-9]{8}-[0-9]{6}$ ]] || fail "$output"
	fw_ok snapshot box --list
	[[ ${lines[1]} =~ ^first\ .*\ ready\ .*\ [0-9]+$ ]] || fail "$output"
	fw_ok snapshot box --list --json
	assert_eq '["first",true,true,"ready",3]' "$(jq -c '.[0] | [.name, (.created | fromdateiso8601? // true | . != null), .bytes > 0, .state, .inodes]' <<<"$output")"
	assert_eq 2 "$(fw show box --json | jq '.snapshots | length')"
	fw_ok show box
	assert_has "$output" 'snapshot:     first, '
	fw_ok reset box
	fw_ok snapshot box --remove first
	fw_fails 1 'no snapshot of that name' rollback box first
	fw_fails 1 'no snapshot of that name' snapshot box --remove first
	fw_ok drop box
	[[ ! -e $space ]]
}

@test "refusals: names, usage, running" {
	with_box
	fw_ok snapshot box one
	fw_fails 1 'there is one of that name' snapshot box one
	fw_fails 1 'is not a name' snapshot box ../../x
	fw_fails 1 'no snapshot of that name' snapshot box --remove ../snapshots/one
	fw_fails 1 'no snapshot of that name' rollback box ../snapshots/one
	fw_fails 1 none snapshot none
	fw_fails 2 usage snapshot
	fw_fails 2 usage snapshot box --json
	fw_fails 2 usage snapshot box one --list
	fw_fails 2 usage rollback box
	fw_fails 2 usage clone
	fw_fails 1 'is not a name' clone box --name /x
	fw_fails 1 'there is one of that name' clone box --name box
	fw_ok start box -- /bin/sleep 1000
	fw_fails 1 'kill it first, or rollback --restart' rollback box one
	fw_ok list --json
	assert_eq 1 "$(jq length <<<"$output")"
	nothing_half
}

@test "a running instance is copied as of one moment, and goes on" {
	local round counts before
	with_box
	# Between the counters, in whatever order they are copied, there is much that takes time.
	fw_ok start box -- /bin/sh -c 'for n in 1 2 3 4 5 6 7 8 9; do dd if=/dev/zero of=/big$n bs=1M count=8 2>/dev/null; done
		i=0; while :; do i=$((i+1)); for n in 1 2 3 4 5 6 7 8; do echo $i >/f$n; done; done'
	wait_until 10 test -e "$space/rw/f8"
	for round in 1 2 3; do
		fw_ok snapshot box "s$round"
		# The one that was being written may be empty.
		mapfile -t counts < <(cat "$space/snapshots/s$round/rw"/f? | sort -un)
		((${#counts[@]} == 1 || ${#counts[@]} == 2 && counts[1] == counts[0] + 1)) || fail "of more than one moment: ${counts[*]}"
		assert_eq $((8 << 20)) "$(stat -c %s "$space/snapshots/s$round/rw/big9")"
	done
	before=${counts[0]}
	wait_until 5 goes_on "$before"
	assert_eq '["started"]' "$(fw snapshot box --list --json | jq -c 'map(.state) | unique')"
	[[ ! -e $FW_ROOT/run/instances/$(fw get box id)/frozen.json ]]
	nothing_half
}

goes_on() { (($(<"$space/rw/f1") > $1 + 1)) 2>/dev/null; }

@test "rollback --restart: the running one goes on with the options of its start" {
	with_box
	inside 'echo one >/mine'
	fw_ok snapshot box one
	fw_ok start box --env A=hello -- /bin/sh -c 'cat /mine; echo $A; echo two >/mine; exec sleep 1000'
	wait_until 5 logged hello 1
	fw_ok rollback box one --restart
	wait_until 5 logged hello 2
	assert_eq $'one\r\nhello\r\none\r\nhello\r' "$(fw logs box)"
}

logged() { [[ $(fw logs box | grep -c "$1") == "$2" ]]; }

@test "clone: the layer, the properties, the generation; both go their own ways" {
	with_box
	fw_ok set box cmdline=/bin/true colour=blue
	inside 'echo mine >/app/data; rm -r /app/sub'
	fw_ok snapshot box one
	mv "$final" "$final.old" # what the instances stand on is no longer the newest
	new_root "$final"
	fw_ok clone box --name twin
	[[ $output =~ ^[0-9a-f]{12}$ ]] || fail "$output"
	assert_eq "$(fw diff box)" "$(fw diff twin)"
	assert_eq "$(layer "$space/rw")" "$(layer "$(fw get twin workspace)/rw")"
	assert_eq "$(fw show box --json | jq -c '[.lowers[].generation, .properties, .union_hook]')" \
		"$(fw show twin --json | jq -c '[.lowers[].generation, .properties, .union_hook]')"
	assert_eq 0 "$(fw show twin --json | jq '.snapshots | length')"
	fw_ok reset twin
	fw_ok diff box
	assert_has "$output" 'changed  /app/data'
	fw_ok start box -- /bin/sleep 1000
	fw_ok clone box
	assert_eq ready "$(fw get "$output" state)"
	assert_eq started "$(fw get box state)"
	fw_ok drop --force box
	fw_ok start twin
}

@test "hostile: links are copied, never followed; snapshots are out of the instance's reach" {
	with_box
	inside "ln -s '$BATS_TEST_TMPDIR' /out; rm -r /app; ln -s /etc /app; mknod /disk b 8 0 || true"
	echo secret >"$BATS_TEST_TMPDIR/secret"
	fw_ok snapshot box one
	[[ -L $space/snapshots/one/rw/out && -L $space/snapshots/one/rw/app ]]
	fw_ok rollback box one
	[[ -L $space/rw/out && -e $BATS_TEST_TMPDIR/secret ]]
	inside 'ls /snapshots /rw; true'
	refute_has "$output" one
}

@test "a full disk: an error, and nothing is left of the copy" {
	mount -t tmpfs -o size=24m small "$FW_ROOT"
	small=y
	with_box
	inside 'dd if=/dev/zero of=/big bs=1M count=14 2>/dev/null'
	fw_fails 1 'no space left on device' snapshot box one
	assert_has "$stderr" '"/big"'
	nothing_half
	fw_fails 1 'no space left on device' clone box --name twin
	assert_eq '["box"]' "$(fw list --json | jq -c 'map(.name)')"
	assert_eq 1 "$(find "$FW_ROOT/workspaces" -mindepth 1 -maxdepth 1 | wc -l)"
	inside 'head -c 4000000 /big >/small; rm /big'
	fw_ok snapshot box one
	inside 'dd if=/dev/zero of=/big bs=1M count=14 2>/dev/null'
	fw_fails 1 'no space left on device' rollback box one
	nothing_half
	assert_eq $((14 << 20)) "$(stat -c %s "$space/rw/big")" 'what it had'
}
