# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154 # the shells inside expand; variables of test/helpers.bash
#
# The break-out suite, for test/escape.bats and test/vm/escape.bats, after helpers.bash.
# An attempt is a line "NAME: open|blocked|n/a|broken DETAIL". Most are made by the program
# test/escape/attempts inside of an instance; those that need a hostile firmware, or this
# machine's side, are here.

ATTEMPTS=$REPO/build/attempts

# escape_setup: a firmware "fw" that holds the program, and what is to be looked for.
escape_setup() {
	fw_setup || return
	[[ -x $ATTEMPTS ]] || make -s -C "$REPO" build/attempts >&2 3>&- || return
	TREE=$BATS_TEST_TMPDIR/tree VICTIM=$BATS_TEST_TMPDIR/victim
	new_root "$TREE"
	cp "$ATTEMPTS" "$TREE/attempts"
	printf '#!/proc/self/exe\n' >"$TREE/evil"
	chmod 755 "$TREE/evil"
	mkdir "$VICTIM"
	printf 'mallory:x:4711:4711::/:/bin/sh\n' >"$VICTIM/passwd"
	printf 'mallory:x:4711:\n' >"$VICTIM/group"
	printf 'secret\n' >"$VICTIM/secret"
	export ESCAPE_WORD=of-the-caller
	groups_of_the_machine mkdir
	fw_ok firmware add "$TREE" --name fw
}

# groups_of_the_machine ACTION: makes (mkdir) or removes (rmdir) cgroups that an instance must not find.
groups_of_the_machine() {
	local base
	for base in /sys/fs/cgroup /sys/fs/cgroup/*/; do # one tree, or one for each controller
		if [[ $(stat -f -c %T "$base") == cgroup* ]]; then
			"$1" "$base/escape-$$" || return
		fi
	done
}

escape_teardown() {
	groups_of_the_machine rmdir
	fw_teardown
}

# mode MODE: sets the array flags, and the settings, for instances under these walls.
mode() {
	flags=(--set pids_max=80 --set memory_max=128M)
	[[ -z ${ESCAPE_QUOTA-} ]] || flags+=(--set rw_max=48M --set rw_files_max=1000)
	export FIRMWARED_APPARMOR=off FIRMWARED_USERNS=off
	case $1 in
	apparmor) FIRMWARED_APPARMOR=required ;;
	userns) FIRMWARED_USERNS=on ;;
	apparmor+userns) FIRMWARED_APPARMOR=required FIRMWARED_USERNS=on ;;
	unconfined) flags=(--unconfined) ;;
	*) fail "no mode $1" ;;
	esac
}

# all_attempts MODE PLACE: makes all attempts under these walls, into $RESULTS, and keeps
# them for test/escape/table where that is asked for.
all_attempts() {
	local flags
	mode "$1" || return
	RESULTS=$BATS_TEST_TMPDIR/results
	{ from_inside && from_outside; } >"$RESULTS" || {
		cat "$RESULTS"
		return 1
	}
	[[ -z ${ESCAPE_RESULTS-} ]] || cp "$RESULTS" "$ESCAPE_RESULTS/$2.$1"
	printf '# %s: %s blocked, %s open, %s not applicable\n' "$1" "$(count blocked)" "$(count open)" "$(count n/a)" >&3
}

# count VERDICT
count() { grep -c "^[^ ]*: $1\( \|$\)" "$RESULTS" || true; }

# assert_blocked: every attempt was made, and none got through.
assert_blocked() {
	local made missing
	made=$(sed 's/: .*//' "$RESULTS" | sort)
	[[ -z $(uniq -d <<<"$made") ]] || fail "two attempts have one name: $(uniq -d <<<"$made")" || return
	missing=$(diff <(attempt_list | cut -f1 | sort) - <<<"$made") || fail "not what the list says: $missing" || return
	! grep -E '^[^ ]*: (open|broken)' "$RESULTS" >&2
}

# assert_real COUNT: without walls at least as many succeed, and none is broken.
assert_real() {
	! grep '^[^ ]*: broken' "$RESULTS" >&2 || return
	(($(count open) >= $1)) || fail "only $(count open) open:"$'\n'"$(<"$RESULTS")"
}

from_inside() {
	local side line word status=0 found=$BATS_TEST_TMPDIR/found fifo=$BATS_TEST_TMPDIR/side
	local -a env=(--env "ESCAPE_SECRET=$VICTIM/secret" --env "ESCAPE_QUOTA=${ESCAPE_QUOTA-}")
	mkfifo "$fifo"
	"$ATTEMPTS" host <"$fifo" >"$found" 3>&- &
	side=$!
	exec {line}>"$fifo"
	wait_until 10 grep -q ESCAPE_HOST "$found"
	while IFS= read -r word; do
		env+=(--env "$word")
	done <"$found"
	fw run fw --name inside "${flags[@]}" "${env[@]}" -- /attempts </dev/null {line}>&- || status=$?
	exec {line}>&-
	wait "$side" || return
	return "$status"
}

# --- a hostile firmware, and a hostile instance -----------------------------------------

# attempt_list: NAME<tab>AREA<tab>what it tries, of all attempts.
attempt_list() {
	"$ATTEMPTS" list && outside_list
}

# outside_list: those of from_outside, a line each.
outside_list() {
	printf '%s\thostile firmwares\t%s\n' \
		trap-dev 'have the start write into a directory of the machine: /dev is a link there' \
		trap-dev-relative 'the same by a relative link' \
		trap-proc 'the same, /proc' \
		trap-sys 'the same, /sys' \
		trap-passwd "be started as a user of the machine's own list: /etc is a link" \
		trap-bind 'have --bind make its mount point in a directory of the machine' \
		trap-directory 'be started in a directory of the machine: --cwd is a link' \
		trap-copy-in 'have cp write into a directory and a file of the machine' \
		trap-copy-out 'have cp read a file of the machine' \
		nodes-directory 'open a disk and the kernel log by nodes that the firmware brings' \
		nodes-image 'the same from an image' \
		setuid-left "leave a setuid program of root's to the users of the machine" \
		exe-overwrite 'overwrite firmwared, by exec of a program that is /proc/self/exe'
}

from_outside() {
	trap_link dev dev "$VICTIM"
	trap_link dev-relative dev "../../../../../../../../..$VICTIM"
	trap_link proc proc "$VICTIM"
	trap_link sys sys "$VICTIM"
	trap_passwd
	trap_bind
	trap_directory
	trap_copy
	nodes directory "$TREE.nodes"
	nodes image "$TREE.ext2"
	setuid_left
	exe_overwrite
}

verdict() { printf '%s: %s %s\n' "$@"; }

victim_is() { tree_sum "$VICTIM"; ls -l "$VICTIM"; grep -F "$VICTIM" /proc/self/mountinfo || true; }

# harmed NAME BEFORE: whether the directory of this machine is as it was.
harmed() {
	if [[ $(victim_is) == "$2" ]]; then
		verdict "$1" blocked 'untouched'
	else
		verdict "$1" open 'this machine was written to'
	fi
}

# hostile NAME: prints a tree of the attempt's own.
hostile() {
	cp -a "$TREE" "$TREE.$1"
	printf '%s\n' "$TREE.$1"
}

# trap_link NAME DIRECTORY TARGET: the firmware's directory is a link that leads out.
trap_link() {
	local tree before
	tree=$(hostile "$1") before=$(victim_is)
	rm -rf "${tree:?}/$2"
	ln -s "$3" "$tree/$2"
	fw run "$tree" --rm "${flags[@]}" -- /bin/true </dev/null >&2 || true
	harmed "trap-$1" "$before"
}

# The firmware's list of users is this machine's.
trap_passwd() {
	local tree
	tree=$(hostile etc)
	rm -rf "${tree:?}/etc"
	ln -s "$VICTIM" "$tree/etc"
	if fw run "$tree" --rm "${flags[@]}" --user mallory -- /bin/true </dev/null >&2; then
		verdict trap-passwd open "a user of this machine's was found"
	else
		verdict trap-passwd blocked 'no such user'
	fi
}

trap_bind() {
	local tree before
	tree=$(hostile bind) before=$(victim_is)
	ln -s "$VICTIM" "$tree/link"
	fw run "$tree" --rm "${flags[@]}" --bind "$ATTEMPTS:/link/new" -- /bin/true </dev/null >&2 || true
	harmed trap-bind "$before"
}

trap_directory() {
	local tree
	tree=$(hostile cwd)
	ln -s "$VICTIM" "$tree/link"
	if [[ $(fw run "$tree" --rm "${flags[@]}" --cwd /link -- /bin/ls </dev/null) == *secret* ]]; then
		verdict trap-directory open "started in a directory of this machine"
	else
		verdict trap-directory blocked
	fi
}

# What runs makes the links, and this machine copies; two lines.
trap_copy() {
	local before
	before=$(victim_is)
	fw start inside "${flags[@]}" -- /bin/sh -c 'ln -s "$1" /link; ln -s "$1/secret" /file; exec sleep 1000' sh "$VICTIM" >&2 || return
	wait_until 20 fw exec inside -- /bin/test -L /file
	fw cp "$TREE/etc/firmware" inside:/link/new >&2 || true
	fw cp "$TREE/etc/firmware" inside:/file >&2 || true
	harmed trap-copy-in "$before"
	if fw cp inside:/link/secret "$BATS_TEST_TMPDIR/stolen" >&2 && [[ -f $BATS_TEST_TMPDIR/stolen ]]; then
		verdict trap-copy-out open "a file of this machine's was read"
	else
		verdict trap-copy-out blocked
	fi
	fw kill inside >&2
}

# nodes KIND PATH: a firmware that brings nodes of this machine's disk and memory.
nodes() {
	local number
	number=$(awk '$4 !~ /^(name|loop|ram|zram)/ && NF == 4 { print $1, $2; exit }' /proc/partitions)
	if [[ ! -d $TREE.nodes ]]; then
		hostile nodes >&2
		# shellcheck disable=SC2086 # two numbers
		mknod -m 666 "$TREE.nodes/disk" b $number
		mknod -m 666 "$TREE.nodes/log" c 1 11
	fi
	[[ $1 == directory ]] || mkfs.ext2 -q -d "$TREE.nodes" "$2" 32M >&2
	if fw run "$2" --rm "${flags[@]}" -- /bin/sh -c 'dd if=/disk count=0 || dd if=/log count=0' </dev/null >&2; then
		verdict "nodes-$1" open 'the device was opened'
	else
		verdict "nodes-$1" blocked
	fi
}

# A program of root's that an instance leaves for the users of this machine.
setuid_left() {
	fw start inside --attach "${flags[@]}" -- /bin/sh -c 'cp /bin/busybox /left; chmod 4755 /left' </dev/null >&2 || return
	if (cd "$FW_ROOT" && setpriv --reuid 65534 --regid 65534 --clear-groups sh -c './workspaces/*/rw/left true') >&2; then
		verdict setuid-left open 'a user of this machine ran it'
	else
		verdict setuid-left blocked
	fi
}

# CVE-2019-5736: an exec is made to run firmwared itself inside.
exe_overwrite() {
	local sum watcher out=$BATS_TEST_TMPDIR/watch fifo=$BATS_TEST_TMPDIR/fifo line
	sum=$(sha256sum <"$FIRMWARED")
	mkfifo "$fifo"
	fw run fw --name watch "${flags[@]}" -- /attempts watch-exe <"$fifo" >"$out" &
	watcher=$!
	exec {line}>"$fifo"
	wait_until 30 grep -q ready "$out"
	for _ in 1 2 3; do
		fw exec watch -- /evil </dev/null >&2 {line}>&- || true
	done
	exec {line}>&-
	wait "$watcher"
	grep '^exe-overwrite: ' "$out"
	[[ $(sha256sum <"$FIRMWARED") == "$sum" ]] || fail 'the program was overwritten'
}
