# SPDX-License-Identifier: Apache-2.0
# Completion in bash, zsh and fish, each in the shell itself.

load helpers

setup() {
	fw_setup
	export FIRMWARED_ROOT=$FW_ROOT PATH=${FIRMWARED%/*}:$PATH
	cd "$BATS_TEST_TMPDIR" || return # for file names
	touch file-one
	fw_ok firmware add "$(busybox_root)" --name alpha
	fw_ok prepare alpha --name box-one
	fw_ok prepare alpha --name box-two
}

teardown() {
	fw_teardown
}

# in_bash WORD...: what bash would offer for the last word.
in_bash() {
	bash --norc -c '
		[[ $1 != full ]] || . /usr/share/bash-completion/bash_completion
		. "$2/conf/completion/firmwared.bash"
		shift 2
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
		_firmwared
		printf "%s\n" "${COMPREPLY[@]}"
	' bash "$MODE" "$REPO" "$@" 3>&-
}

# in_zsh WORD...: what the function hands to the completion system.
in_zsh() {
	zsh -fc '
		fpath=($1/conf/completion $fpath)
		autoload -Uz _firmwared
		compadd() { local -a fit=(${(PM)@[-1]:#$words[CURRENT]*}); (( $#fit )) && print -rl -- $fit }
		_files() { print FILES }
		shift
		words=("$@") CURRENT=$#
		_firmwared
	' zsh "$REPO" "$@" 3>&-
}

# in_fish WORD...
in_fish() {
	# shellcheck disable=SC2016 # fish expands it
	HOME=$BATS_TEST_TMPDIR fish --no-config -c 'source $argv[1]; complete -C "$argv[2]"' \
		"$REPO/conf/completion/firmwared.fish" "$*" 3>&- | cut -f1
}

# offers SHELL "WANTED..." WORD...: exactly these, in any order.
offers() {
	local shell=$1 wanted=$2 have
	shift 2
	have=$("in_$shell" "$@" | sort | paste -sd' ')
	assert_eq "$wanted" "$have" "$shell: $*"
}

all_offers() {
	MODE=full offers bash "$@"
	MODE=alone offers bash "$@"
	offers zsh "$@"
	offers fish "$@"
}

@test "commands" {
	all_offers 'prepare' firmwared pre
	all_offers 'remove' firmwared firmware rem
}

@test "options" {
	all_offers '--count' firmwared prepare --co
	all_offers '--force' firmwared drop --f
}

@test "live names of instances and firmwares" {
	all_offers 'box-one box-two' firmwared drop box
	all_offers 'box-two' firmwared start box-t
	all_offers 'alpha' firmwared prepare al
	all_offers 'alpha' firmwared firmware show a
	all_offers 'squashfs' firmwared hook show sq
}

@test "file names where a path is wanted" {
	all_files() { offers zsh FILES firmwared firmware add file && offers fish file-one firmwared firmware add file; }
	all_files
	MODE=full offers bash '' firmwared firmware add file # bash falls back by itself
	grep -q -- '-o default' "$REPO/conf/completion/firmwared.bash"
}

@test "a completion never fails aloud and changes nothing" {
	run --separate-stderr "$FIRMWARED" --config /none.toml drop --generate-bash-completion
	assert_eq '' "$output"
	MODE=alone offers bash '' firmwared nosuch command x
}
