#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
#
# watch: a build changes the firmware directory, and the instances see it by themselves.

load helpers

setup() {
	fw_setup
	out=$BATS_TEST_TMPDIR/out err=$BATS_TEST_TMPDIR/err
}

teardown() {
	[[ ! ${watcher:-} ]] || kill -INT "$watcher" 2>/dev/null || true
	fw_teardown
}

# example: a copy of the example firmware, built, registered and with an instance that runs.
example() {
	work=$BATS_TEST_TMPDIR/work
	cp -r "$REPO/test/example/firmware" "$work"
	build
	fw_ok firmware add "$work/final" --name fw
	fw_ok prepare fw --name box
	fw_ok start box
	wait_until 5 logged 'example firmware 1: hello'
}

build() { make -s -C "$work" "$@" >&2 3>&-; }

logged() { fw logs "${2:-box}" | grep -qF "$1"; }

# watching I... OPTION...: in the background, once it is ready.
watching() {
	"$FIRMWARED" --root "$FW_ROOT" watch "$@" >"$out" 2>"$err" 3>&- </dev/null &
	watcher=$!
	wait_until 5 grep -q '^firmwared: watching ' "$err"
}

# cycles N: for wait_until.
cycles() { (($(wc -l <"$out") == $1)); }

# ends: Ctrl-C is the usual end.
ends() {
	local status=0
	kill -INT "$watcher"
	wait "$watcher" || status=$?
	watcher=
	assert_eq 0 "$status" "watch, stderr: $(<"$err")"
}

@test "edit, make, and the new banner is on the console; then diff and commit" {
	example
	watching box --restart
	sed -i 's/^VERSION=.*/VERSION=2/' "$work/init.sh"
	echo 'good morning' >"$work/banner.txt"
	build
	wait_until 10 logged 'example firmware 2: good morning'
	wait_until 5 cycles 1
	[[ $(<"$out") =~ ^[0-9:]{8}\ box:\ 2\ files\ changed,\ remounted\ in\ [0-9]+\ ms,\ restarted\ in\ [0-9]+\ ms$ ]] || fail "$(<"$out")"
	ends
	fw_ok diff box
	assert_eq 'added    /root/starts' "$output"
	assert_eq 2 "$(<"$(fw get box workspace)/union/root/starts")"
	assert_eq "firmwared: watching $work/final" "$(<"$err")"
	fw_ok kill box
	fw_ok commit box --name kept
	fw_ok run kept --rm -- /bin/cat /root/starts
	assert_eq 2 "$output"
}

@test "what nothing runs from or holds is seen without a restart; without --restart it says what would help" {
	local pid
	example
	pid=$(fw get box pid)
	watching box --restart --json
	echo evening >"$work/banner.txt"
	build
	wait_until 5 cycles 1
	assert_eq '["box",1,false,false,null]' "$(jq -c '[.instance, .changed, .needs_restart, .restarted, .error]' "$out")"
	assert_eq "$pid" "$(fw get box pid)"
	assert_eq evening "$(fw exec box -- cat /etc/banner)"
	ends
	watching box
	sed -i 's/^VERSION=.*/VERSION=3/' "$work/init.sh"
	build
	wait_until 5 cycles 1
	assert_has "$(<"$out")" 'firmwared restart box'
	assert_eq "$pid" "$(fw get box pid)"
	ends
}

@test "a program that was overwritten in place is restarted, too" {
	example
	watching box --restart
	sed 's/^VERSION=.*/VERSION=4/' "$work/init.sh" >"$work/final/sbin/init"
	wait_until 5 logged 'example firmware 4: hello'
	ends
}

@test "the directory deleted and made anew, twice; --exec" {
	example
	# shellcheck disable=SC2016 # for the shell that watch calls
	watching box --restart --exec 'echo "$FIRMWARED_INSTANCE $FIRMWARED_RESTARTED"; "'"$FIRMWARED"'" get box state; exit 3'
	build clean
	echo two >"$work/banner.txt"
	build
	wait_until 10 logged 'example firmware 1: two'
	wait_until 5 cycles 1
	assert_has "$(<"$out")" 'its directory was made anew'
	build clean
	echo three >"$work/banner.txt"
	build
	wait_until 10 logged 'example firmware 1: three'
	wait_until 5 cycles 2
	wait_until 5 grep -q 'exit status 3' "$err"
	assert_has "$(<"$err")" $'box y\nstarted\nfirmwared: warning: --exec for instance box: exit status 3'
	ends
}

@test "several: a base, another firmware; one that is dropped; the end when none is left" {
	local status=0
	example
	mkdir -p "$BATS_TEST_TMPDIR/top/etc"
	fw_ok firmware add "$BATS_TEST_TMPDIR/top" --name top --base fw
	fw_ok prepare top --name upper
	fw_ok start upper
	watching box upper --restart
	echo mine >"$BATS_TEST_TMPDIR/top/etc/only"
	wait_until 5 cycles 1
	assert_has "$(<"$out")" ' upper: 1 files changed'
	sed -i 's/^VERSION=.*/VERSION=5/' "$work/init.sh"
	build
	wait_until 5 logged 'example firmware 5' box
	wait_until 5 logged 'example firmware 5' upper
	wait_until 5 cycles 3
	fw_ok drop --force box
	wait_until 5 grep -q 'instance box was dropped' "$err"
	echo yours >"$BATS_TEST_TMPDIR/top/etc/only"
	wait_until 5 cycles 4
	fw_ok drop --force upper
	wait "$watcher" || status=$?
	watcher=
	assert_eq 0 "$status"
}

@test "a big build is one cycle: 20 000 files and directories appear" {
	example
	watching box --restart --settle 500ms
	mkdir "$work/final/data"
	(cd "$work/final/data" && for d in {1..40}; do mkdir "$d" && (cd "$d" && touch {1..500}) || exit; done)
	wait_until 20 cycles 1
	assert_has "$(<"$out")" 'box: 20000 files changed, remounted in'
	refute_has "$(<"$out")" restarted
	rm -r "$work/final/data/40"
	wait_until 10 cycles 2
	ends
}

@test "an image: put there anew it is mounted anew; with other content it is refused, and what runs goes on" {
	local image=$BATS_TEST_TMPDIR/image pid
	new_image "$image"
	fw_ok firmware add "$image" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	pid=$(fw get box pid)
	watching box --restart
	cp "$image" "$image.new"
	mv "$image.new" "$image"
	wait_until 5 cycles 1
	assert_has "$(<"$out")" 'restarted in'
	pid=$(fw get box pid)
	truncate -s +1M "$image.new"
	cat "$image" >>"$image.new"
	mv "$image.new" "$image"
	wait_until 5 cycles 2
	assert_eq "$pid" "$(fw get box pid)"
	assert_eq started "$(fw get box state)"
	ends
}

@test "wrong usage" {
	fw_fails 2 usage watch
	fw_fails 2 --settle watch box --settle 0
	fw_fails 1 none watch none
}
