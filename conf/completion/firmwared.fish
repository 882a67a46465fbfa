# SPDX-License-Identifier: Apache-2.0
# Completion for fish. The program itself says what may follow, names of
# firmwares and instances among it; where nothing of that fits, file names.

function __firmwared_complete
	set -l words (commandline -opc)
	set -l cur (commandline -ct)
	# A word that begins with - is asked for as it stands: it stands for options.
	if string match -q -- '-*' $cur
		set -a words $cur
	end
	set -l fitting
	for answer in ($words --generate-bash-completion 2>/dev/null </dev/null)
		if test (string sub -l (string length -- "$cur") -- $answer) = "$cur"
			set -a fitting $answer
		end
	end
	if test (count $fitting) -gt 0
		printf '%s\n' $fitting
	else
		__fish_complete_path $cur
	end
end

complete -c firmwared -f -a '(__firmwared_complete)'
