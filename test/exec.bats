#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `exec`: a command in a running instance.

load helpers

setup() {
	fw_setup
	fw_ok firmware add "$(busybox_root)" --name fw
	fw_ok prepare fw --name box
}
teardown() { fw_teardown; }

# started [ARG...]: box runs a patient pid 1.
started() { fw_ok start box "$@" -- /bin/sh -c 'while :; do sleep 1000; done'; }

# ends_with STATUS PID: a child of this shell ends like that.
ends_with() {
	local have=0
	wait "$2" || have=$?
	assert_eq "$1" "$have" 'exit status'
}

@test "stdout, stderr and the exit status are the command's own" {
	started
	run --separate-stderr fw exec box -- /bin/sh -c 'cat; echo wrong >&2; exit 9' <<<'some input'
	# shellcheck disable=SC2154 # set by run
	assert_eq '9 some input wrong' "$status $output $stderr"
	run_err 127 'nosuch' fw exec box -- nosuch
	run_err 127 '/bin/nosuch' fw exec box -- /bin/nosuch
	run_err 126 '/etc/passwd' fw exec box -- /etc/passwd
	run_err 125 'find user' fw exec box --user nosuch -- true
	run_err 125 '/nowhere' fw exec box --cwd /nowhere -- true
	run --separate-stderr fw exec box -- /bin/sh -c 'kill -TERM $$'
	assert_eq 143 "$status"
}

@test "usage errors are 2, an instance that is not started is 125" {
	run_err 2 'usage:' fw exec box
	run_err 2 'usage:' fw exec -- true
	run_err 2 'put --' fw exec box true
	run_err 2 'NAME=VALUE' fw exec box --env x -- true
	run_err 2 'absolute' fw exec box --cwd x -- true
	run_err 125 'not started' fw exec box -- true
	run_err 125 'nosuch' fw exec nosuch -- true
}

@test "inside: namespaces, cgroup, capabilities and descriptors as pid 1's" {
	local ns
	started
	for ns in mnt pid net uts ipc cgroup; do
		fw_ok exec box -- /bin/sh -c "[ \$(readlink /proc/1/ns/$ns) = \$(readlink /proc/self/ns/$ns) ] && hostname"
		assert_eq box "$output"
	done
	fw_ok exec box -- /bin/sh -c "grep Cap /proc/1/status >/tmp/1; grep Cap /proc/self/status >/tmp/2; cmp /tmp/1 /tmp/2; ls /proc/self/fd; pwd"
	assert_eq '0 1 2 3 /' "${lines[*]}" # 3 is ls itself
	fw_ok exec box -- cmp /proc/1/cgroup /proc/self/cgroup
	fw_ok kill box
	# Limits are the instance's, in whatever hierarchy they are.
	started --set pids_max=50
	fw_ok exec box -- cmp /proc/1/cgroup /proc/self/cgroup
	# An unconfined pid 1 has unconfined company.
	fw_ok kill box
	started --unconfined
	fw_ok exec box -- /bin/sh -c 'grep CapBnd /proc/1/status /proc/self/status | cut -f2 | uniq | wc -l'
	assert_eq 1 "$output"
}

@test "user, directory and environment" {
	fw_ok set box env=FROM=property
	started --env FROM=run
	fw_ok exec box --user user --cwd /tmp --env A=b -- /bin/sh -c 'id -u; id -G; pwd; env | sort | grep -v "^\(PWD\|SHLVL\)="'
	assert_eq '1000 1000 1001 /tmp A=b FROM=property HOME=/home PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=firmwared' "${lines[*]}"
	fw_ok exec box --user nobody:extra -- id -g
	assert_eq 1001 "$output"
}

@test "-t gives a terminal with the caller's size, which follows it" {
	started
	run script -qec "stty rows 33 cols 77; '$FIRMWARED' --root '$FW_ROOT' exec box -t -- /bin/sh -c 'tty; stty size; echo \$TERM; exit 5'" /dev/null </dev/null
	assert_eq 5 "$status"
	assert_has "$output" '/dev/pts/'
	assert_has "$output" '33 77'
	run timeout 60 script -qec "stty rows 33 cols 77
		(until [ -e '$(fw get box workspace)/rw/tmp/up' ]; do sleep 0.1; done; stty rows 44 cols 88 </dev/tty) &
		'$FIRMWARED' --root '$FW_ROOT' exec box -t -- /bin/sh -c 'trap \"stty size; exit 6\" WINCH; echo >/tmp/up; while :; do sleep 0.1; done'" /dev/null </dev/null
	assert_eq 6 "$status"
	assert_has "$output" '44 88'
}

@test "signals are passed on; the third of a kind ends a deaf command" {
	local pid
	started
	"$FIRMWARED" --root "$FW_ROOT" exec box -- /bin/sh -c 'trap "exit 7" TERM; echo >/tmp/up; while :; do sleep 0.1; done' 3>&- &
	pid=$!
	wait_until 10 fw exec box -- test -e /tmp/up
	kill -TERM "$pid"
	ends_with 7 "$pid"
}

@test "the command ends with the instance, and says so" {
	local pid
	started
	fw exec box -- /bin/sh -c 'echo >/tmp/up; exec sleep 1000' 2>"$BATS_TEST_TMPDIR/err" &
	pid=$!
	wait_until 10 fw exec box -- test -e /tmp/up
	fw_ok kill box
	ends_with 137 "$pid"
	assert_has "$(<"$BATS_TEST_TMPDIR/err")" 'instance box ended'
}

@test "the command dies with its caller, and a stopped caller does not hold up kill" {
	started
	"$FIRMWARED" --root "$FW_ROOT" exec box -- sleep 4711 3>&- &
	wait_until 10 eval '[[ $(fw exec box -- ps) == *"sleep 4711"* ]]'
	kill -KILL $!
	wait_until 10 eval '[[ $(fw exec box -- ps) != *"sleep 4711"* ]]'
	"$FIRMWARED" --root "$FW_ROOT" exec box -- sleep 4712 3>&- &
	wait_until 10 eval '[[ $(fw exec box -- ps) == *"sleep 4712"* ]]'
	kill -STOP $!
	fw_ok kill box
	assert_eq ready "$(fw get box state)"
	kill -CONT $!
	ends_with 137 "$!"
}

@test "a background process that holds the streams does not hold the caller" {
	started
	fw_ok exec box -- /bin/sh -c 'sleep 1000 & echo done'
	assert_eq 'done' "$output"
}

@test "a hundred execs leave nothing" {
	local n before
	started
	fw_ok exec box -- true
	before=$(fw exec box -- /bin/sh -c 'ls -d /proc/[0-9]*' | wc -l)
	for n in {1..100}; do
		fw exec box -- true </dev/null || fail "exec $n failed"
	done
	assert_eq "$before" "$(fw exec box -- /bin/sh -c 'ls -d /proc/[0-9]*' | wc -l)"
}

@test "a hostile tree bends no path of exec" {
	started
	# A root whose /dev/pts, /etc and PATH are traps: the accounts are the
	# instance's own, and no fifo is waited for.
	fw_ok exec box -- /bin/sh -c 'mv /etc /etc.old; ln -s / /etc; mkdir -p /usr/bin; ln -s /proc/self/exe /usr/bin/self; busybox mkfifo /passwd'
	run_err 125 'find user' fw exec box --user user -- true
	fw_ok exec box -- /bin/sh -c 'echo still here'
	assert_eq 'still here' "$output"
	# Written while it starts, /proc/self/exe is the firmware's program, not ours.
	local sum
	sum=$(sha256sum <"$FIRMWARED")
	run fw exec box -- /bin/sh -c 'echo evil >/proc/self/exe'
	run -127 fw exec box -- self
	assert_eq "$sum" "$(sha256sum <"$FIRMWARED")"
}

@test "a frozen instance does not hold the caller who wants out" {
	local pid group
	started
	group=$(find /sys/fs/cgroup -maxdepth 5 -path "*/firmwared/$(root_key)/i-$(fw get box id)/payload" 2>/dev/null)
	[[ -e $group/cgroup.freeze ]] || fail 'no cgroup2 freezer'
	echo 1 >"$group/cgroup.freeze"
	"$FIRMWARED" --root "$FW_ROOT" exec box -- true 3>&- &
	pid=$!
	wait_until 10 pgrep -P "$pid"
	wait_until 10 eval "kill -TERM $pid; ! kill -0 $pid"
	ends_with 125 "$pid"
	echo 0 >"$group/cgroup.freeze"
}
