# SPDX-License-Identifier: Apache-2.0
# make: installing and uninstalling, and what it says when something is missing.

load helpers

setup() {
	fw_setup
	DEST=$BATS_TEST_TMPDIR/dest
}

teardown() {
	fw_teardown
}

repo_make() {
	make --no-print-directory -C "$REPO" "$@" 3>&-
}

# mode FILE
mode() { stat -c %a "$1"; }

@test "make install puts everything where a distribution wants it, and uninstall takes it away" {
	local f
	run repo_make install DESTDIR="$DEST" zshcompdir=/usr/share/zsh/vendor-completions
	[[ $status -eq 0 ]] || fail "$output"
	for f in usr/bin/firmwared usr/libexec/firmwared/firmwared-supervise usr/libexec/firmwared/hooks/mount.hook; do
		assert_eq 755 "$(mode "$DEST/$f")" "$f"
	done
	for f in usr/libexec/firmwared/hooks/lib.bash etc/firmwared/firmwared.toml usr/share/doc/firmwared/CONTRACT.md \
		usr/share/man/man1/firmwared.1 usr/share/man/man5/firmwared.toml.5 usr/share/man/man7/firmwared-hook.7 \
		usr/share/bash-completion/completions/firmwared usr/share/zsh/vendor-completions/_firmwared \
		usr/share/fish/vendor_completions.d/firmwared.fish; do
		assert_eq 644 "$(mode "$DEST/$f")" "$f"
		[[ -s $DEST/$f ]] || fail "$f is empty"
	done
	for f in "$REPO"/hooks/*.hook "$REPO"/hooks/*.bash; do
		cmp "$f" "$DEST/usr/libexec/firmwared/hooks/${f##*/}"
	done
	cmp "$REPO/conf/firmwared.toml" "$DEST/etc/firmwared/firmwared.toml"
	run "$DEST/usr/bin/firmwared" config
	assert_has "$output" 'hook_dirs = ["/etc/firmwared/hooks", "/usr/libexec/firmwared/hooks"]'
	refute_has "$output" "$REPO"
	refute_has "$(strings_of "$DEST/usr/bin/firmwared")" "$REPO/"

	run repo_make uninstall DESTDIR="$DEST" zshcompdir=/usr/share/zsh/vendor-completions
	[[ $status -eq 0 ]] || fail "$output"
	assert_eq '' "$(find "$DEST" ! -type d)"
	[[ ! -e $DEST/etc/firmwared && ! -e $DEST/usr/libexec/firmwared && ! -e $DEST/usr/share/firmwared ]]
}

# strings_of FILE: without binutils.
strings_of() { tr -c '[:print:]' '\n' <"$1" | grep -E "^/|=/"; }

@test "manual pages have their sections" {
	run repo_make man
	[[ $status -eq 0 ]] || fail "$output"
	grep -q '^\.TH.*firmwared' "$REPO/build/man/firmwared.1"
	grep -qi '^\.SH NAME' "$REPO/build/man/firmwared.1"
	grep -q 'hook_timeouts\|hook\\_timeouts' "$REPO/build/man/firmwared.toml.5"
	grep -q FIRMWARED_LOWERDIR "$REPO/build/man/firmwared-hook.7"
}

@test "the installed program runs a firmware; a changed configuration is kept" {
	local prefix=$BATS_TEST_TMPDIR/prefix
	run repo_make install PREFIX="$prefix" sysconfdir="$prefix/etc"
	[[ $status -eq 0 ]] || fail "$output"
	FIRMWARED=$prefix/bin/firmwared
	unset FIRMWARED_HOOK_DIRS FIRMWARED_CONFIG
	fw_ok config
	assert_has "$output" "\"$prefix/libexec/firmwared/hooks\"]"
	run -7 fw run "$(busybox_root)" --rm -- /bin/sh -c 'exit 7'

	printf 'jobs = 2\n' >"$prefix/etc/firmwared/firmwared.toml"
	fw_ok config
	assert_has "$output" "file $prefix/etc/firmwared/firmwared.toml:1"
	run repo_make install PREFIX="$prefix" sysconfdir="$prefix/etc"
	assert_has "$output" 'firmwared.toml.new'
	assert_eq 'jobs = 2' "$(<"$prefix/etc/firmwared/firmwared.toml")"
	run repo_make uninstall PREFIX="$prefix" sysconfdir="$prefix/etc"
	assert_eq "$prefix/etc/firmwared/firmwared.toml" "$(find "$prefix" ! -type d)"
	FIRMWARED=$REPO/bin/firmwared
}

@test "without a Go that is new enough, make says in one line what to install" {
	local bin=$BATS_TEST_TMPDIR/bin
	mkdir "$bin" "$BATS_TEST_TMPDIR/empty"
	# shellcheck disable=SC2016 # the other shell expands it
	run --separate-stderr unshare -m bash -c '
		for dir in /usr/local/go /usr/lib/go-1.*; do
			[[ ! -d $dir ]] || mount --bind "$1/empty" "$dir"
		done
		PATH=$1/bin:/usr/sbin:/usr/bin:/sbin:/bin
		! command -v go || { printf "#!/bin/sh\necho go1.19.8\n" >"$1/bin/go"; chmod +x "$1/bin/go"; }
		make --no-print-directory -C "$2" build 3>&-
	' bash "$BATS_TEST_TMPDIR" "$REPO"
	assert_eq 2 "$status"
	assert_has "${stderr_lines[0]}" 'firmwared needs Go 1.24 or newer, found'
	assert_has "${stderr_lines[0]}" 'golang-go'
	[[ ${#stderr_lines[@]} -eq 2 ]] || fail "$stderr" # and make's own

	printf '#!/bin/sh\necho go1.19.8\n' >"$bin/go"
	chmod +x "$bin/go"
	# shellcheck disable=SC2016 # the other shell expands it
	run --separate-stderr unshare -m bash -c '
		for dir in /usr/local/go /usr/lib/go-1.*; do
			[[ ! -d $dir ]] || mount --bind "$1/empty" "$dir"
		done
		PATH=$1/bin:/usr/sbin:/usr/bin:/sbin:/bin "$2/conf/find-go"
	' bash "$BATS_TEST_TMPDIR" "$REPO"
	assert_eq 1 "$status"
	assert_has "$stderr" 'found go1.19.8'
}

@test "a checkout that is not root's is told so" {
	local dir=$BATS_TEST_TMPDIR/user/hooks
	mkdir -p "$dir"
	run "$REPO/conf/check-trust" "$dir"
	assert_eq '' "$output"
	chown 1000 "${dir%/*}"
	run "$REPO/conf/check-trust" "$dir"
	assert_eq 1 "${#lines[@]}"
	assert_has "$output" "${dir%/*} is not owned by root"
	chown 0 "${dir%/*}"
	chmod 777 "$dir"
	run "$REPO/conf/check-trust" "$dir"
	assert_has "$output" "$dir is not owned by root or others may write"
	chmod 1777 "$dir"
	run "$REPO/conf/check-trust" "$dir"
	assert_eq '' "$output"
}
