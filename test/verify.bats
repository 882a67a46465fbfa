#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# firmware add URL --signature --key: verify.hook with minisign and with gpg.

load helpers

setup() {
	fw_setup
	W=$BATS_TEST_TMPDIR/www
	mkdir -p "$W"
	truncate -s 1M "$W/plain"
	mkfs.ext2 -q "$W/plain"
	gzip "$W/plain"
	mv "$W/plain.gz" "$W/img"
	printf 'other\n' >"$W/other"
	URL=file://$W/img
}

teardown() { fw_teardown; }

# refused REASON SIGNATURE KEY: nothing is added and nothing is left.
refused() {
	fw_fails 1 "$1" firmware add "$URL" --signature "$2" --key "$3" || return
	assert_eq '[]' "$(fw firmware list --json)" || return
	assert_eq '' "$(find "$FW_ROOT"/{downloads,images,run/pending} -mindepth 1 2>/dev/null)" 'left'
}

# accepted SIGNATURE KEY
accepted() {
	fw_ok firmware add "$URL" --signature "$1" --key "$2" --name fw || return
	assert_eq '' "$stderr" || return
	fw_ok firmware remove fw
	assert_eq '' "$(find "$FW_ROOT"/{downloads,images,run/pending} -mindepth 1)" 'left'
}

@test "minisign: of the download as it comes, by a file or a URL" {
	local key
	for key in vendor stranger; do
		minisign -G -W -p "$W/$key.pub" -s "$W/$key.sec" >/dev/null
	done
	minisign -S -s "$W/vendor.sec" -m "$W/img" >/dev/null
	minisign -S -s "$W/vendor.sec" -m "$W/other" >/dev/null
	accepted "$W/img.minisig" "$W/vendor.pub"
	accepted "$URL.minisig" "$W/vendor.pub"
	cd "$W"
	accepted img.minisig vendor.pub
	refused 'bad signature' "$W/img.minisig" "$W/stranger.pub"
	refused 'bad signature' "$W/other.minisig" "$W/vendor.pub"
	refused 'there is no such file' "$URL.nothing" "$W/vendor.pub"
	printf x >>"$W/img"
	refused 'bad signature' "$W/img.minisig" "$W/vendor.pub"
}

# gpg_as WHO ARG...: with a key ring of its own, without an agent that stays.
gpg_as() {
	local home=$BATS_TEST_TMPDIR/$1
	shift
	[[ -d $home ]] || mkdir -m 700 "$home"
	gpg --homedir "$home" --batch --quiet --no-tty --pinentry-mode loopback --passphrase '' "$@" 2>>"$BATS_TEST_TMPDIR/gpg.log" || fail "$(cat "$BATS_TEST_TMPDIR/gpg.log")"
}

@test "OpenPGP: armoured or not, and only by the key that was named" {
	local who
	for who in vendor stranger; do
		gpg_as "$who" --quick-generate-key "$who <$who@example.org>" ed25519 sign 1d
		gpg_as "$who" --armor --export >"$W/$who.asc"
		gpg_as "$who" --export >"$W/$who.gpg"
	done
	gpg_as vendor --detach-sign --output "$W/img.sig" "$W/img"
	gpg_as vendor --armor --detach-sign --output "$W/img.asc" "$W/img"
	gpg_as vendor --armor --detach-sign --output "$W/other.asc" "$W/other"
	gpg_as vendor --armor --sign --output "$W/inline.asc" "$W/other"
	gpg_as vendor --sign --output "$W/inline.sig" "$W/other"
	gpg_as vendor --detach-sign --faked-system-time 20200101T000000! --ignore-valid-from --output "$W/old.sig" "$W/img" || true
	accepted "$W/img.sig" "$W/vendor.gpg"
	accepted "$W/img.asc" "$W/vendor.asc"
	accepted "$URL.asc" "$W/vendor.asc"
	refused 'by another key' "$W/img.asc" "$W/stranger.asc"
	refused 'not what was signed' "$W/other.asc" "$W/vendor.asc"
	refused 'no hook knows this kind of signature' "$W/inline.asc" "$W/vendor.asc"
	refused 'no hook knows this kind of signature' "$W/inline.sig" "$W/vendor.asc"
	refused 'no OpenPGP public key' "$W/img.asc" "$W/other"
	printf x >>"$W/img"
	refused 'not what was signed' "$W/img.sig" "$W/vendor.gpg"
	gpgconf --homedir "$BATS_TEST_TMPDIR/vendor" --kill all
	gpgconf --homedir "$BATS_TEST_TMPDIR/stranger" --kill all
}

@test "OpenPGP: a key that has expired does not count, although gpg ends with 0" {
	gpg_as vendor --faked-system-time 20200101T000000! --quick-generate-key 'vendor <vendor@example.org>' ed25519 sign 1d
	gpg_as vendor --faked-system-time 20200101T000100! --detach-sign --output "$W/img.sig" "$W/img"
	gpg_as vendor --export >"$W/vendor.gpg"
	refused 'the key has expired' "$W/img.sig" "$W/vendor.gpg"
	gpgconf --homedir "$BATS_TEST_TMPDIR/vendor" --kill all
}

@test "what is no signature, and a tool that is missing" {
	local hooks=$BATS_TEST_TMPDIR/hooks
	: >"$W/empty"
	printf 'untrusted comment: me\nnonsense\n' >"$W/junk"
	refused 'no hook knows this kind of signature' "$W/other" "$W/other"
	refused 'the signature is empty' "$W/empty" "$W/other"
	refused 'bad signature' "$W/junk" "$W/other"
	# A hook of the site's own is asked first, and may leave it to the next one.
	mkdir "$hooks"
	printf '#!/bin/bash\n. "$FIRMWARED_LIB/lib.bash"\nHOOK_SUMMARY=mine\nverify() { [[ $FIRMWARED_SIGNATURE == */mine ]] || exit 3; [[ $FIRMWARED_KEY == */other ]]; }\nfirmwared_hook\n' >"$hooks/site.hook"
	sed 's/need_tool minisign/need_tool no-such-minisign/' "$REPO/hooks/verify.hook" >"$hooks/verify.hook"
	chmod 755 "$hooks"/*
	export FIRMWARED_HOOK_DIRS=$hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	printf mine >"$W/mine"
	accepted "$W/mine" "$W/other"
	refused 'site.hook: verify failed' "$W/mine" "$W/junk"
	refused 'something it needs is missing: missing here: tool:no-such-minisign' "$W/junk" "$W/other"
}
