# SPDX-License-Identifier: Apache-2.0
# The command line itself: help, version, settings, wrong usage, a caller who is
# not root.

load helpers

setup() {
	fw_setup
}

teardown() {
	fw_teardown
}

# as_nobody ARG...: the program as a user who may do nothing.
as_nobody() {
	chmod a+rx "$BATS_RUN_TMPDIR" "${BATS_TEST_TMPDIR%/*}" "$BATS_TEST_TMPDIR" "$FW_ROOT"
	[[ -e $BATS_TEST_TMPDIR/firmwared ]] || install -m 0755 "$FIRMWARED" "$BATS_TEST_TMPDIR/firmwared"
	setpriv --reuid 65534 --regid 65534 --clear-groups "$BATS_TEST_TMPDIR/firmwared" --root "$FW_ROOT" "$@" 3>&-
}

@test "version is one line; --json is an object" {
	fw_ok version
	[[ $output =~ ^firmwared\ [^[:space:]]+$ ]] || fail "$output"
	assert_eq '' "$stderr"
	fw_ok version --json
	assert_eq string "$(jq -r '.version | type' <<<"$output")"
}

@test "help names every command and goes to stdout" {
	local command
	fw_ok help
	assert_eq '' "$stderr"
	for command in firmware prepare start run kill restart remount drop list show get set logs events wait stats gc attach exec cp diff reset snapshot rollback clone hook profile export commit apply watch doctor config version; do
		grep -qE "^ +$command\b" <<<"$output" || fail "help lacks $command: $output"
	done
}

@test "every command explains itself" {
	local command
	for command in 'firmware add' 'firmware list' 'firmware show' 'firmware unmount' 'firmware remove' 'hook list' 'hook show' 'hook env' 'hook test' 'profile show' prepare start run \
		kill restart remount drop list show get set logs events wait stats gc attach exec cp diff reset snapshot rollback clone export commit apply watch doctor config version; do
		# shellcheck disable=SC2086 # the words of a subcommand
		fw_ok $command --help
		assert_has "$output" "firmwared $command"
		assert_eq '' "$stderr"
	done
}

@test "wrong usage is status 2 and one line" {
	fw_fails 2 frobnicate frobnicate
	fw_fails 2 frobnicate firmware frobnicate
	fw_fails 2 frobnicate list --frobnicate
	fw_fails 2 frobnicate --frobnicate list
	fw_fails 2 '' firmware add
	fw_fails 2 '' firmware add one two
	fw_fails 2 'K=V' firmware add /tmp --option novalue
	fw_fails 2 '' firmware show
	fw_fails 2 '' firmware remove
	fw_fails 2 '' prepare
	fw_fails 2 count prepare fw --count many
	fw_fails 2 '' prepare fw --count 0
	fw_fails 2 '' start
	fw_fails 2 '' kill
	fw_fails 2 '' kill box --signal NOSUCH
	fw_fails 2 '' kill box --timeout soon
	fw_fails 2 '' drop
	fw_fails 2 '' drop box --all
	fw_fails 2 '' show
	fw_fails 2 '' get box
	fw_fails 2 '' set box
	fw_fails 2 '' logs
	fw_fails 2 '' version now
	fw_fails 2 '' config now
}

@test "an object that is not there is status 1, named, one line" {
	local id=0123456789ab command
	fw_fails 1 nosuch firmware show nosuch
	fw_fails 1 nosuch prepare nosuch
	for command in 'show' 'start' 'kill' 'drop' 'restart' 'remount' 'logs'; do
		fw_fails 1 nosuch "$command" nosuch
		fw_fails 1 "$id" "$command" "$id"
	done
	fw_fails 1 nosuch get nosuch name
	fw_fails 1 nosuch set nosuch key=value
}

@test "lists of nothing are empty, and --json an empty array" {
	fw_ok list --json
	assert_eq '[]' "$(jq -c . <<<"$output")"
	fw_ok firmware list --json
	assert_eq '[]' "$(jq -c . <<<"$output")"
	fw_ok kill --all
	fw_ok drop --all
}

@test "config shows each value and where it comes from" {
	local file="$BATS_TEST_TMPDIR/odd name.toml"
	printf '# settings\njobs = 3\n\n[hook_timeouts]\nmount.mount = "45s"\n' >"$file"
	FIRMWARED_APPARMOR=off run --separate-stderr fw --config "$file" config
	[[ $status -eq 0 && -z $stderr ]] || fail "$stderr"
	grep -qxE "jobs = 3 +# file $file:2" <<<"$output" || fail "$output"
	grep -qxE 'hook_timeouts = \{ "mount.mount" = "45s" \} +# file .*:4' <<<"$output" || fail "$output"
	grep -qxE 'apparmor = "off" +# environment FIRMWARED_APPARMOR' <<<"$output" || fail "$output"
	grep -qxE 'union_hook = "mount" +# default' <<<"$output" || fail "$output"
	grep -qxE "state_dir = \"$FW_ROOT\" +# --root" <<<"$output" || fail "$output"
	grep -qxE "run_dir = \"$FW_ROOT/run\" +# --root" <<<"$output" || fail "$output"
}

@test "the output of config is a configuration file that gives the same" {
	fw_ok config
	local first=$output
	printf '%s\n' "$output" >"$BATS_TEST_TMPDIR/again.toml"
	fw_ok --config "$BATS_TEST_TMPDIR/again.toml" config
	assert_eq "$(cut -d'#' -f1 <<<"$first")" "$(cut -d'#' -f1 <<<"$output")"
	fw_ok config --json
	assert_eq "$(grep -c . <<<"$first")" "$(jq length <<<"$output")"
}

@test "the example configuration loads" {
	fw_ok --config "$REPO/conf/firmwared.toml" config
	refute_has "$output" "# file"
	sed 's/^#\([a-z]\)/\1/' "$REPO/conf/firmwared.toml" >"$BATS_TEST_TMPDIR/all.toml"
	fw_ok --config "$BATS_TEST_TMPDIR/all.toml" config
	refute_has "$output" '# default'
}

@test "a configuration that is wrong is named with its line, by every command" {
	local file=$BATS_TEST_TMPDIR/bad.toml
	printf 'jobs = 1\nhook_dir = "/x"\n' >"$file"
	fw_fails 1 "$file:2: unknown key \"hook_dir\"" --config "$file" config
	fw_fails 1 "$file:2" --config "$file" list
	fw_fails 1 "$file:2" --config "$file" firmware add /
	printf 'jobs = "many"\n' >"$file"
	fw_fails 1 "$file:1: jobs: " --config "$file" list
	fw_fails 1 'none.toml' --config "$BATS_TEST_TMPDIR/none.toml" list
	FIRMWARED_JOBS=x fw_fails 1 'FIRMWARED_JOBS="x"' list
	FIRMWARED_CONFIG=$file fw_fails 1 "$file:1" list
	fw_ok version
}

@test "--root wins over FIRMWARED_ROOT, which wins over the settings" {
	FIRMWARED_ROOT=/nowhere FIRMWARED_STATE_DIR=/elsewhere fw_ok config
	assert_has "$output" "state_dir = \"$FW_ROOT\""
	FIRMWARED_ROOT=/nowhere FIRMWARED_STATE_DIR=/elsewhere run "$FIRMWARED" config
	assert_has "$output" 'state_dir = "/nowhere"'
	[[ ! -e /nowhere && ! -e /elsewhere ]]
}

@test "not root: help, version and config work, the rest says what is wrong" {
	local command
	for command in help version config 'firmware --help'; do
		# shellcheck disable=SC2086 # the words of a subcommand
		run --separate-stderr as_nobody $command
		[[ $status -eq 0 && -z $stderr ]] || fail "$command: $status $stderr"
	done
	run_err 1 root as_nobody firmware add /
	run_err 1 root as_nobody prepare x
	run_err 1 root as_nobody start x
	run_err 1 root as_nobody drop x
	run_err 125 root as_nobody run / -- /bin/true
	assert_eq '' "$(ls "$FW_ROOT")"
}
