#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# firmware add URL: fetch.hook against a web server on loopback that has the faults of test/httpd.

load helpers

setup_file() {
	make -s -C "$BATS_TEST_DIRNAME/.." build/httpd >&2 3>&-
}

# The image is of random data, so that a mixed one has another checksum.
setup() {
	fw_setup
	W=$BATS_TEST_TMPDIR/www
	mkdir -p "$W" "$BATS_TEST_TMPDIR/tree"
	head -c 600000 /dev/urandom >"$BATS_TEST_TMPDIR/tree/data"
	mkfs.ext2 -q -d "$BATS_TEST_TMPDIR/tree" "$W/img" 2M
	SUM=$(sum "$W/img")
	mkfifo "$BATS_TEST_TMPDIR/life"
	"$REPO/build/httpd" "$W" <"$BATS_TEST_TMPDIR/life" >&2 3>&- &
	SERVER=$!
	exec {LIFE}>"$BATS_TEST_TMPDIR/life"
	wait_until 10 test -s "$W/http"
	HTTP=http://127.0.0.1:$(<"$W/http") HTTPS=https://127.0.0.1:$(<"$W/https")
	export FIRMWARED_FETCH_CA=$W/ca.pem
}

teardown() {
	exec {LIFE}>&-
	kill "$SERVER"
	wait "$SERVER" || true
	fw_teardown
}

sum() { sha256sum <"$1" | cut -c1-64; }

# requests PATH: what was asked for of it, one range a line.
requests() { sed -n "s|^$1 ||p" "$W/log"; }

# nothing_left: of downloads, images and marks.
nothing_left() {
	assert_eq '' "$(find "$FW_ROOT"/{downloads,images,run/pending} -mindepth 1 2>/dev/null)" 'left'
}

# is_image ID: the firmware's image is the served one, and the program's.
is_image() {
	assert_eq "$FW_ROOT/images/$1 true $SUM" "$(fw firmware show "$1" --json | jq -r '"\(.path) \(.copied) \(.sha256)"')"
	assert_eq "$SUM" "$(sum "$FW_ROOT/images/$1")"
	assert_eq 600 "$(stat -c %a "$FW_ROOT/images/$1")"
}

# halfway DIR: a part of the image is there.
halfway() { [[ -s $(echo "$FW_ROOT"/downloads/*/part) ]]; }

# all_of_half: what the server has sent is there.
all_of_half() { [[ $(stat -c %s "$FW_ROOT"/downloads/*/part) == 1048576 ]]; }

@test "http, https and file: the image is the program's and goes with the firmware" {
	local id url
	cp "$W/img" "$W/odd %name"
	for url in "$HTTP/ok/img" "$HTTPS/ok/img" "file://$W/img" "FILE://localhost$W/odd%20%25name" "$HTTPS/plain/img" "$HTTP/to?/ok/img"; do
		fw_ok firmware add "$url" --sha256 "${SUM^^}" --name fw
		id=$output
		is_image "$id"
		assert_eq "$SUM" "$(fw firmware show fw --json | jq -r .download)"
		fw_ok firmware remove fw
		nothing_left
	done
	fw_ok firmware add "$HTTPS/ok/img" --name fw
	assert_eq '' "$stderr"
	assert_eq "$HTTPS/ok/img" "$(fw firmware show fw --json | jq -r .url)"
	fw_ok prepare fw --name box
	cmp "$FW_ROOT/workspaces/$(fw get box id)/union/data" "$BATS_TEST_TMPDIR/tree/data"
}

@test "run takes a URL, and --rm removes what was fetched" {
	local image
	image=$(ext2_image)
	cp "$image" "$W/box"
	run --separate-stderr fw run "$HTTPS/ok/box" --rm --unconfined -- /bin/echo hello
	assert_eq "0 hello" "$status $output"
	assert_eq '[]' "$(fw firmware list --json)"
	nothing_left
}

@test "without TLS and checksum there is a warning; passwords are shown nowhere" {
	fw_ok firmware add "${HTTP/'://'/'://user:password@'}/secret/img" --name fw
	assert_has "$stderr" 'anybody on the way'
	refute_has "$stderr" 'password@'
	assert_has "$(fw firmware show fw)" 'user:xxxxx@'
	refute_has "$(cat "$FW_ROOT"/events* "$FW_ROOT"/firmwares/*)" 'password'
	fw_fails 1 '401' firmware add "${HTTPS/'://'/'://user:wrong@'}/secret/img"
	refute_has "$stderr" wrong
}

@test "what is there already is not fetched when the checksum is given" {
	local id
	fw_ok firmware add "$HTTPS/ok/img" --sha256 "$SUM" --name fw
	id=$output
	fw_ok firmware add "$HTTPS/ok/img" --sha256 "$SUM"
	assert_eq "$id" "$output"
	assert_has "$stderr" 'nothing is fetched'
	assert_eq 1 "$(requests /ok/img | wc -l)"
	# On top of something it is another firmware, with an image of its own.
	fw_ok firmware add "$(busybox_root)" --name base
	fw_ok firmware add "$HTTPS/ok/img" --sha256 "$SUM" --base base --name top
	[[ $output != "$id" ]]
	is_image "$output"
	assert_eq 1 "$(requests /ok/img | wc -l)"
	# A file that the user has is as good; one that has changed is not.
	fw_ok firmware remove top fw
	cp "$W/img" "$BATS_TEST_TMPDIR/own"
	fw_ok firmware add "$BATS_TEST_TMPDIR/own" --name own
	fw_ok firmware add "$HTTPS/ok/img" --sha256 "$SUM"
	assert_eq 1 "$(requests /ok/img | wc -l)"
	printf x >>"$BATS_TEST_TMPDIR/own"
	fw_ok firmware add "$HTTPS/ok/img" --sha256 "$SUM"
	assert_eq 2 "$(requests /ok/img | wc -l)"
	is_image "$output"
}

@test "compressed images are unpacked; the checksum is that of the download" {
	local name packed
	gzip -k "$W/img"
	xz -0k "$W/img"
	zstd -q "$W/img"
	for name in img.gz img.xz img.zst; do
		packed=$(sum "$W/$name")
		fw_ok firmware add "$HTTPS/ok/$name" --sha256 "$packed" --name fw
		is_image "$output"
		assert_eq "$packed" "$(fw firmware show fw --json | jq -r .download)"
		fw_ok firmware add "$HTTPS/ok/$name" --sha256 "$packed"
		assert_has "$stderr" 'nothing is fetched'
		fw_fails 1 "the sha256 of what came is $packed, not ${SUM/$SUM/$(printf '0%.0s' {1..64})}" \
			firmware add "$HTTPS/ok/$name" --sha256 "$(printf '0%.0s' {1..64})"
		fw_ok firmware remove fw
		nothing_left
	done
	head -c 300000 "$W/img.xz" >"$W/short.xz"
	fw_fails 1 'cannot unpack it: xz' firmware add "$HTTPS/ok/short.xz"
	nothing_left
}

@test "fetch_max holds for what is told, for what is not, and for what it is unpacked to" {
	export FIRMWARED_FETCH_MAX=1M
	fw_fails 1 'more than the 1048576 bytes' firmware add "$HTTPS/ok/img"
	fw_fails 1 'more than the 1048576 bytes' firmware add "$HTTPS/plain/img"
	fw_fails 1 'more than the 1048576 bytes' firmware add "$HTTPS/endless"
	fw_fails 1 'more than the 1048576 bytes' firmware add "file://$W/img"
	local name
	truncate -s 50M "$W/bomb" "$W/tail"
	printf x >>"$W/tail"
	for name in bomb tail; do
		gzip -k "$W/$name"
		xz -0k "$W/$name"
		zstd -q "$W/$name"
		fw_fails 1 'more than the 1048576 bytes' firmware add "$HTTPS/ok/$name.gz"
		fw_fails 1 'more than the 1048576 bytes' firmware add "$HTTPS/ok/$name.xz"
		fw_fails 1 'more than the 1048576 bytes' firmware add "$HTTPS/ok/$name.zst"
	done
	nothing_left
}

@test "a broken download goes on where it was, within one add" {
	local kind
	for kind in broken dated; do
		fw_ok firmware add "$HTTPS/$kind/img" --sha256 "$SUM" --name fw
		is_image "$output"
		assert_eq 'whole bytes=1048576-' "$(requests "/$kind/img" | paste -sd' ')"
		fw_ok firmware remove fw
	done
	assert_eq '' "$(ls -A "$FW_ROOT/downloads")"
}

@test "and across two, but after Ctrl-C nothing is kept" {
	local pid status=0
	export FIRMWARED_FETCH_STALL=1
	fw_fails 1 'the server has stalled: no data for 1 s; what has come is kept' firmware add "$HTTPS/stall/img"
	assert_eq 'whole bytes=1048576-' "$(requests /stall/img | paste -sd' ')"
	fw_ok gc
	halfway
	fw_fails 1 'stalled' firmware add "$HTTPS/stall/img"
	assert_eq 'bytes=1048576-' "$(requests /stall/img | tail -n 1)"
	FIRMWARED_FETCH_STALL=30 FIRMWARED_HOOK_TIMEOUTS=fetch.fetch=1s fw_fails 1 'timed out after 1s' firmware add "$HTTPS/stall/img"
	halfway
	touch -d '25 hours ago' "$FW_ROOT"/downloads/*
	fw_ok gc
	assert_has "$output" download
	nothing_left

	unset FIRMWARED_FETCH_STALL
	"$FIRMWARED" --root "$FW_ROOT" firmware add "$HTTPS/halting/img" >/dev/null 2>"$BATS_TEST_TMPDIR/err" 3>&- &
	pid=$!
	wait_until 10 halfway
	kill -INT "$pid"
	wait "$pid" || status=$?
	assert_eq 130 "$status"
	assert_has "$(<"$BATS_TEST_TMPDIR/err")" 'was interrupted'
	assert_eq 1 "$(wc -l <"$BATS_TEST_TMPDIR/err")"
	nothing_left
}

@test "kill -9: the next command clears up, the next add goes on" {
	local pid
	"$FIRMWARED" --root "$FW_ROOT" firmware add "$HTTPS/halting/img" >/dev/null 2>&1 3>&- &
	pid=$!
	wait_until 10 halfway
	wait_until 10 all_of_half
	kill -KILL "$pid"
	wait "$pid" || true
	fw_ok firmware add "$(busybox_root)"
	assert_eq '' "$(ls -A "$FW_ROOT/images")"
	fw_ok firmware add "$HTTPS/halting/img" --sha256 "$SUM"
	is_image "$output"
	assert_eq 'whole bytes=1048576-' "$(requests /halting/img | paste -sd' ')"
}

@test "a file that has changed meanwhile is fetched whole, whatever the server makes of If-Range" {
	local kind
	mkfs.ext2 -q -d "$BATS_TEST_TMPDIR/tree" -L new "$W/img.new" 2M
	for kind in changed liar; do
		fw_ok firmware add "$HTTPS/$kind/img" --sha256 "$(sum "$W/img.new")" --name fw
		assert_eq 'whole bytes=1048576- whole' "$(requests "/$kind/img" | paste -sd' ')"
		fw_ok firmware remove fw
	done
	# The new one is as large as what is there already: curl alone would call that done.
	mkfs.ext2 -q -d "$BATS_TEST_TMPDIR/tree" -L half "$W/small" 1M
	cp "$W/img" "$W/twice"
	cp "$W/small" "$W/twice.new"
	fw_ok firmware add "$HTTPS/changed/twice" --sha256 "$(sum "$W/small")"
}

@test "what the server cannot do or will not give: one line, nothing left" {
	fw_fails 1 '404' firmware add "$HTTPS/ok/nothing"
	fw_fails 1 'the server answers 204' firmware add "$HTTPS/empty"
	fw_fails 1 '503' firmware add "$HTTPS/busy/img"
	fw_fails 1 'the connection broke: ' firmware add "$HTTPS/short/img"
	fw_fails 1 'Failed to connect' firmware add https://127.0.0.1:1/img
	fw_fails 1 'there is no such file' firmware add "file://$W"
	fw_fails 1 'it names a host' firmware add "file://host$W/img"
	fw_fails 1 'invalid URL escape' firmware add "file://$W/img%4"
	fw_fails 1 'no hook announces the scheme scp (there is: file, http, https)' firmware add scp://host/img
	fw_fails 1 'no hook can mount it' firmware add "$HTTPS/ok/log"
	nothing_left
}

@test "redirects: to files never, from https to http never, in circles not for ever" {
	fw_fails 1 'it leads to where it may not' firmware add "$HTTPS/to?file:///etc/passwd"
	fw_fails 1 'it leads to where it may not' firmware add "$HTTPS/to?$HTTP/ok/img"
	fw_fails 1 'redirects' firmware add "$HTTPS/to?$HTTPS/to?/to"
	assert_eq '' "$(requests /ok/img)"
	nothing_left
	fw_ok firmware add "$HTTP/to?$HTTPS/ok/img" --sha256 "$SUM"
}

@test "TLS is verified: an authority that nobody trusts, a name that is another's" {
	fw_fails 1 'no alternative certificate subject name' firmware add "${HTTPS/127.0.0.1/localhost}/ok/img"
	unset FIRMWARED_FETCH_CA
	fw_fails 1 'set fetch_ca' firmware add "$HTTPS/ok/img"
	nothing_left
}

@test "a full disk is told as that, and nothing is left" {
	mount -t tmpfs -o size=1100k tmpfs "$FW_ROOT"
	fw_fails 1 'no space left' firmware add "$HTTPS/ok/img"
	nothing_left
	fw_ok gc
	fw_drop_all
	umount -R "$FW_ROOT" || umount "$FW_ROOT"
}

@test "--copy-to leaves the image to the user" {
	fw_ok firmware add "$HTTPS/ok/img" --copy-to "$BATS_TEST_TMPDIR/mine" --name fw
	assert_eq "$BATS_TEST_TMPDIR/mine false" "$(fw firmware show fw --json | jq -r '"\(.path) \(.copied)"')"
	fw_fails 1 'is there already' firmware add "$HTTPS/ok/img" --copy-to "$BATS_TEST_TMPDIR/mine"
	fw_ok firmware remove fw
	assert_eq "$SUM" "$(sum "$BATS_TEST_TMPDIR/mine")"
	nothing_left
	fw_fails 1 'for URLs' firmware add "$W/img" --copy-to "$BATS_TEST_TMPDIR/other"
}

@test "progress: events, and a bar on a terminal only" {
	head -c 30000 "$W/img" >"$W/slow"
	run --separate-stderr fw firmware add "$HTTPS/slow/slow" --hook mount --name fw
	assert_eq '' "$stderr" 'no bar'
	assert_eq 30000 "$(fw events --json | jq -s '[.[] | select(.type == "add_progress") | .total] | max')"
	assert_eq "$HTTPS/slow/slow" "$(fw events --json | jq -rs '[.[] | select(.type == "add_progress")][0].path')"
	run script -qec "'$FIRMWARED' --root '$FW_ROOT' firmware add '$HTTPS/slow/slow' --hook mount" /dev/null
	assert_has "$output" fetch
}

@test "a site's own hook serves its own scheme, and comes before the shipped one" {
	local hooks=$BATS_TEST_TMPDIR/hooks
	mkdir "$hooks"
	{
		printf '#!/bin/bash\n. "$FIRMWARED_LIB/lib.bash"\nHOOK_SUMMARY=mine\nHOOK_SCHEMES="mine file"\n'
		printf 'fetch() { cp "%s" "$FIRMWARED_OUTPUT"; progress 1 1; echo "$FIRMWARED_URL" >"%s"; }\nfirmwared_hook\n' "$W/img.gz" "$BATS_TEST_TMPDIR/asked"
	} >"$hooks/site.hook"
	printf '#!/bin/sh\ncase $FIRMWARED_ACTION in\ndescribe) printf "api=1\\nlayers=fetch\\nschemes=lies,slow\\n" ;;\nfetch) [ "${FIRMWARED_URL%%%%:*}" = lies ] || sleep 100 ;;\nesac\n' >"$hooks/liar.hook"
	chmod 755 "$hooks"/*.hook
	gzip -k "$W/img"
	export FIRMWARED_HOOK_DIRS=$hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	fw_ok firmware add mine://where/ever --name fw
	is_image "$output"
	assert_eq mine://where/ever "$(<"$BATS_TEST_TMPDIR/asked")"
	fw_ok firmware add file:///nowhere
	assert_eq file:///nowhere "$(<"$BATS_TEST_TMPDIR/asked")"
	fw_fails 1 'hook liar reported success, but made no file' firmware add lies://x
	FIRMWARED_HOOK_TIMEOUTS=liar.fetch=1s fw_fails 1 'timed out after 1s' firmware add slow://x
	fw_ok firmware remove fw
	nothing_left
}

@test "bad words" {
	fw_fails 1 'write other characters as %XX' firmware add 'https://host/a b'
	fw_fails 1 'cannot use a URL' firmware add 'https://user:secret@host:port/'
	refute_has "$stderr" secret
	fw_fails 1 '64 hexadecimal' firmware add "$HTTPS/ok/img" --sha256 abc
	fw_fails 1 'no such file' firmware add "$HTTPS/ok/img" --signature /nowhere --key /nowhere
	fw_fails 2 'go together' firmware add "$HTTPS/ok/img" --signature /nowhere
	fw_ok firmware add "$(busybox_root)" --name taken
	fw_fails 1 'another firmware is named taken' firmware add "$HTTPS/ok/img" --name taken
	fw_fails 1 'on a base' firmware add "$HTTPS/ok/img" --base nosuch
	assert_eq '' "$(requests /ok/img)"
}
