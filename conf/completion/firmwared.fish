# SPDX-License-Identifier: Apache-2.0
# Completion for fish. The program itself says what may follow, names of
# firmwares and instances among it; where it has nothing to say, file names.

function __firmwared_complete
	set -l words (commandline -opc)
	set -l cur (commandline -ct)
	# A word that begins with - is asked for as it stands: it stands for options.
	if string match -q -- '-*' $cur
		set -a words $cur
	end
	set -l answers ($words --generate-bash-completion 2>/dev/null </dev/null)
	if test (count $answers) -gt 0
		printf '%s\n' $answers
	else
		__fish_complete_path $cur
	end
end

complete -c firmwared -f -a '(__firmwared_complete)'
