# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Completion for bash. The program itself says what may follow, names of
# firmwares and instances among it; where nothing of that fits, file names.

_firmwared() {
	local cur=${COMP_WORDS[COMP_CWORD]} cword=$COMP_CWORD line
	local -a words=("${COMP_WORDS[@]}") ask
	# Makes words whole that bash broke at : or =, as NAME:PATH is.
	if declare -F _get_comp_words_by_ref >/dev/null; then
		_get_comp_words_by_ref -n := cur words cword
	fi
	ask=("${words[@]:0:cword}")
	ask[0]=${ask[0]/#\~\//$HOME/}
	# A word that begins with - is asked for as it stands: it stands for options.
	[[ $cur != -* ]] || ask+=("$cur")

	COMPREPLY=()
	while IFS= read -r line; do
		[[ $line != "$cur"* ]] || COMPREPLY+=("$line")
	done < <("${ask[@]}" --generate-bash-completion 2>/dev/null </dev/null)

	# bash replaces only what follows the last break.
	if declare -F __ltrim_colon_completions >/dev/null; then
		__ltrim_colon_completions "$cur"
	fi
}

complete -o bashdefault -o default -F _firmwared firmwared
