#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# hooks/TUTORIAL.md, run as it is written, and its hook against archives made to do harm.

load helpers

setup() {
	fw_setup
	T=$BATS_TEST_TMPDIR
	TUTORIAL=$REPO/hooks/TUTORIAL.md
	# What must not be reached from an archive.
	mkdir "$T/outside"
	echo secret >"$T/outside/secret"
}
teardown() { fw_teardown; }

# the_hook: the text of tar.hook.
the_hook() { sed -n '/^```bash$/,/^```$/{/^```/d;p}' "$TUTORIAL"; }

# the_script: all commands in their order; the hook is written where it stands.
the_script() {
	awk '
		/^```sh$/ { on = 1; next }
		/^```bash$/ { on = 1; end = 1; print "cat >tar.hook <<\"END-OF-HOOK\""; next }
		/^```$/ { if (end) print "END-OF-HOOK"; on = end = 0; next }
		on' "$TUTORIAL"
}

@test "the tutorial does what it says, with the real hook directory" {
	mkdir "$T/etc" "$T/work"
	cp -a /etc/. "$T/etc"
	the_script >"$T/script"
	[[ -z ${FIRMWARED_HOOK_DIRS:-} ]] || FIRMWARED_HOOK_DIRS=/etc/firmwared/hooks:$FIRMWARED_HOOK_DIRS
	# /etc is a copy, in a mount namespace of the test's own.
	PATH=${FIRMWARED%/*}:$PATH FIRMWARED_ROOT=$FW_ROOT run --separate-stderr unshare -m bash -c '
		mount --bind "$1/etc" /etc && cd "$1/work" && exec bash -u "$1/script"' - "$T" 3>&- </dev/null
	assert_eq 0 "$status" "$stderr"
	assert_has "$stderr" 'no hook can mount it (tried: '
	assert_eq '' "$(grep -v -e 'no hook can mount it' -e ' 0 failed' <<<"$stderr")" # hook test sums up
	assert_has "$output" $'\nFIRMWARED_RO=/'
	assert_has "$output" unmount-busy
	refute_has "$output" FAIL
	assert_eq 'hello from an archive hello from an archive' "${lines[*]: -2}"
	cmp "$T/work/tar.hook" <(the_hook)
	[[ -x $T/etc/firmwared/hooks/tar.hook ]]
}

@test "the hook has about fifteen lines, and shellcheck has nothing to say" {
	the_hook >"$T/tar.hook"
	(($(grep -c . "$T/tar.hook") <= 15)) || fail 'it grew'
	shellcheck -e SC1090,SC1091,SC2034,SC2317 "$T/tar.hook"
}

# install_hook: for the tests below.
install_hook() {
	mkdir "$T/hooks"
	the_hook >"$T/hooks/tar.hook"
	chmod 755 "$T/hooks/tar.hook"
	export FIRMWARED_HOOK_DIRS=$T/hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
}

# unharmed: nothing was written outside, and nothing of there is seen inside.
unharmed() {
	assert_eq secret "$(<"$T/outside/secret")" || return
	assert_eq secret "$(ls -A "$T/outside")" || return
	assert_eq 1 "$(stat -c %h "$T/outside/secret")" 'links to the secret'
}

# try ARCHIVE: it may be refused, or mounted without harm.
try() {
	fw_ok firmware add "$1" --name evil
	assert_eq tar "$(fw firmware show evil --json | jq -r .hook)" || return
	run --separate-stderr fw prepare evil
	unharmed || return
	((status)) || refute_has "$(cat "$(fw get "$output" workspace)"/ro/{x,x/secret,link} 2>/dev/null)" secret || return
	fw_drop_all
}

@test "archives with absolute names, with .., and through links: nothing gets out" {
	install_hook
	mkdir "$T/in"
	cd "$T/in"
	echo evil >evil
	echo good >good
	# Each in an archive that is right otherwise.
	tar -P -cf "$T/absolute.tar" --transform "s,^evil$,$T/outside/evil," good evil
	tar -P -cf "$T/dots.tar" --transform 's,^evil$,../../../../../../../../../../../../..'"$T/outside/evil," good evil
	ln -s "$T/outside" x
	tar -cf "$T/link.tar" good x
	tar -rf "$T/link.tar" --transform 's,^evil$,x/secret,' evil
	tar -rf "$T/link.tar" --transform 's,^evil$,x/evil,' evil
	rm x
	ln -s ../../../../../../../../../../../.."$T/outside" y
	ln -s y x
	tar -cf "$T/links.tar" good y x
	tar -rf "$T/links.tar" --transform 's,^evil$,x/evil,' evil
	rm x y
	ln evil link
	tar -P -cf "$T/hard.tar" --transform "s,^evil\$,$T/outside/secret,RS" good evil link
	tar -tvPf "$T/hard.tar" | grep -q "link link to $T/outside/secret"
	local archive
	for archive in absolute dots link links hard; do
		try "$T/$archive.tar" || fail "$archive.tar"
	done
	# The control: with -P it does get out, and that is seen.
	sed -i 's/tar -x/& -P/' "$T/hooks/tar.hook"
	for archive in absolute dots link links; do
		try "$T/$archive.tar" 2>/dev/null || true
		! unharmed 2>/dev/null || fail "$archive.tar is harmless even so"
		fw_drop_all
		rm -f "$T/outside/evil"
		echo secret >"$T/outside/secret"
	done
}

@test "an archive's links, owners, modes and capabilities are kept; its devices do not act" {
	install_hook
	mkdir "$T/in"
	cd "$T/in"
	mkdir -p bin dev etc
	cp /bin/busybox bin/
	ln -s /etc/secret absolute
	echo inside >etc/secret
	mknod -m 666 dev/mem c 1 5
	cp /bin/true bin/su
	chown 1234:4321 bin/su
	chmod 6755 bin/su
	setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 bin/busybox
	setfattr -n trusted.overlay.opaque -v y etc
	tar -cf "$T/rootfs.tar" --xattrs --xattrs-include='*' .
	fw_ok firmware add "$T/rootfs.tar" --name tarball
	fw_ok run tarball --rm -- /bin/busybox cat /absolute
	assert_eq inside "$output"
	fw_ok prepare tarball --name box
	cd "$(fw get box workspace)/ro"
	assert_eq '1234 4321 6755' "$(stat -c '%u %g %a' bin/su)"
	getfattr -n security.capability bin/busybox
	run getfattr --absolute-names -m- etc
	refute_has "$output" overlay
	run head -c1 dev/mem
	assert_has "$output" 'Permission denied'
	run touch new
	assert_has "$output" 'Read-only'
	cd /
}

@test "an archive that is too big, cut off, or with an odd name" {
	install_hook
	mkdir "$T/in"
	head -c 3M /dev/urandom >"$T/in/big"
	echo x >"$T/in/small"
	tar -czf "$T/big.tar.gz" -C "$T/in" .
	fw_ok firmware add "$T/big.tar.gz" --name big --option size=1m
	run --separate-stderr fw prepare big
	assert_eq 1 "$status"
	[[ $stderr == *'Wrote only'* || $stderr == *'No space left'* ]] || fail "$stderr"
	assert_eq '' "$(leaked_mounts | grep lowers)"
	head -c 2M "$T/big.tar.gz" >"$T/cut.tar.gz"
	fw_ok firmware add "$T/cut.tar.gz" --name cut
	run --separate-stderr fw prepare cut
	assert_eq 1 "$status"
	assert_has "$stderr" 'Unexpected EOF'
	assert_eq '[]' "$(fw list --json)"
	local name
	tar -cf "$T/small.tar" -C "$T/in" small
	for name in 'host:file' ' --checkpoint-action=exec=true' $'new\nline' "quo'te\"" '$(touch x)' '*'; do
		cp "$T/small.tar" "$T/in/$name"
		fw_ok firmware add "$T/in/$name" --name odd --option size=1m
		fw_ok prepare odd --name box
		assert_eq x "$(<"$(fw get box workspace)/ro/small")"
		fw_ok drop box
		fw_ok firmware remove odd
	done
}

@test "what only begins like an archive is another's" {
	install_hook
	echo text | gzip >"$T/text.gz"
	fw_fails 1 'no hook can mount it' firmware add "$T/text.gz"
	head -c 5000 /dev/zero >"$T/zero"
	printf ustar | dd of="$T/zero" bs=1 seek=257 conv=notrunc status=none
	fw_fails 1 'no hook can mount it' firmware add "$T/zero"
	fw_ok firmware add "$(ext2_image)"
	assert_eq mount "$(fw firmware show "$output" --json | jq -r .hook)"
}
