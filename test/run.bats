#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# `run` and `start`: what pid 1 gets, what comes back.

load helpers

setup() {
	fw_setup
	ROOTFS=$(busybox_root)
}
teardown() { fw_teardown; }

# run_rm ARG...: a throw-away run of the busybox tree; sets output and stderr.
run_rm() {
	run --separate-stderr fw run "$ROOTFS" --rm "$@"
}

@test "the exit status of pid 1 comes back, 128+N for a signal" {
	run_rm -- /bin/sh -c 'exit 7'
	assert_eq 7 "$status"
	run_rm -- /bin/true
	assert_eq 0 "$status"
	assert_eq '' "$stderr"
	run_rm -- /bin/sh -c 'trap - USR1; kill -USR1 $$; exit 3' # a signal that pid 1 does not handle does nothing
	assert_eq 3 "$status"
}

@test "126 when the program cannot be run, 127 when there is none, 125 when firmwared fails" {
	run_err 127 '/bin/nosuch' fw run "$ROOTFS" --rm -- /bin/nosuch
	run_err 127 'nosuch' fw run "$ROOTFS" --rm -- nosuch
	run_err 126 '/etc/passwd' fw run "$ROOTFS" --rm -- /etc/passwd
	run_err 126 '/etc' fw run "$ROOTFS" --rm -- /etc
	run_err 125 'cannot use' fw run "$BATS_TEST_TMPDIR/missing" --rm -- /bin/true
	run_err 2 'usage:' fw run
}

@test "--rm leaves nothing, not even the firmware; without it both stay" {
	run_rm -- /bin/sh -c 'echo x >/file'
	assert_eq '[]' "$(fw list --json)"
	assert_eq '[]' "$(fw firmware list --json)"
	assert_no_leaks
	fw_ok run "$ROOTFS" --name box -- /bin/sh -c 'echo x >/file'
	assert_eq x "$(<"$(fw get box workspace)/rw/file")"
	assert_eq 0 "$(fw get box exit_code)"
	assert_eq 1 "$(fw firmware list --json | jq length)"
}

@test "--rm of a registered firmware, or one adopted meanwhile, keeps the firmware" {
	local pid
	fw_ok firmware add "$ROOTFS" --name fw
	run_rm -- /bin/true
	assert_eq fw "$(fw firmware list --json | jq -r '.[].name')"
	fw_ok run fw --rm -- /bin/true
	assert_eq fw "$(fw firmware list --json | jq -r '.[].name')"
	fw_ok firmware remove fw
	fw run "$ROOTFS" --rm --name box -- /bin/sleep 1000 &
	pid=$!
	wait_until 5 in_state box started
	fw_ok firmware add "$ROOTFS"
	fw_ok kill box
	wait "$pid" || true
	assert_eq 1 "$(fw firmware list --json | jq length)"
}

@test "pid 1 in new namespaces, with its own name, no descriptors but three, and a root it cannot leave" {
	local kind
	run_rm --name box -- /bin/sh -c 'echo $$; hostname; ls /proc/self/fd; cat /proc/net/dev | grep -c :'
	assert_eq 0 "$status"
	assert_eq 1 "${lines[0]}" pid
	assert_eq box "${lines[1]}" hostname
	assert_eq '0 1 2 3' "${lines[*]:2:4}" 'descriptors (3 is ls itself)'
	assert_eq 1 "${lines[6]}" 'network interfaces'
	run_rm -- /bin/sh -c 'for n in mnt pid uts ipc net cgroup; do readlink /proc/self/ns/$n; done'
	for kind in mnt pid uts ipc net cgroup; do
		refute_has "$output" "$(readlink "/proc/self/ns/$kind")"
	done
	run_rm -- /bin/sh -c 'wc -l </proc/self/mountinfo; ls /..'
	refute_has "$output" workspaces
}

@test "descriptors that the caller left open reach neither pid 1 nor a hook" {
	run --separate-stderr fw run "$ROOTFS" --rm -- /bin/sh -c 'ls -l /proc/self/fd' 7</etc/passwd
	refute_has "$output" passwd
	assert_eq 0 "$status"
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	fw start box -- /bin/sh -c 'ls -l /proc/self/fd; exec sleep 1000' 7</etc/passwd
	listed() { fw logs box | grep -q ' 2 -> '; }
	wait_until 5 listed
	refute_has "$(fw logs box)" passwd
}

@test "lo is up, /dev has harmless nodes only, /proc and /sys are there" {
	run_rm -- /bin/sh -c 'ip link show lo | head -n1; for f in null zero full random urandom tty ptmx pts shm console fd stdin stdout stderr; do [ -e /dev/$f ] || [ -L /dev/$f ] || echo "no $f"; done
		find /dev -type b; find /dev -type c | sort | tr "\n" " "; mount | grep -c " on /proc "; mount | grep -c " on /sys "'
	assert_has "${lines[0]}" UP
	refute_has "$output" 'no '
	refute_has "$output" /dev/sd
	refute_has "$output" /dev/mem
	refute_has "$output" /dev/kmsg
}

@test "plain pipes: stdin, stdout and stderr are binary-safe and apart" {
	head -c 3000000 /dev/urandom >"$BATS_TEST_TMPDIR/in"
	fw run "$ROOTFS" --rm -- /bin/cat <"$BATS_TEST_TMPDIR/in" >"$BATS_TEST_TMPDIR/out"
	cmp "$BATS_TEST_TMPDIR/in" "$BATS_TEST_TMPDIR/out"
	run_rm -- /bin/sh -c 'echo out; echo err >&2'
	assert_eq out "$output"
	assert_eq err "$stderr"
	run_rm -- /bin/sh -c 'test -t 0 || echo none'
	assert_eq none "$output"
}

@test "output that nobody reads any more ends the reader, not the program's status" {
	run bash -c '"$1" --root "$2" run "$3" --rm -- /bin/sh -c "yes | head -c 1000000; exit 4" 3>&- | head -c 10 >/dev/null; echo "${PIPESTATUS[0]}"' - "$FIRMWARED" "$FW_ROOT" "$ROOTFS"
	[[ ${lines[-1]} -eq 4 || ${lines[-1]} -eq 141 ]]
}

@test "a terminal gives pid 1 a raw tty with the window's size" {
	run script -qec "stty rows 33 cols 77; '$FIRMWARED' --root '$FW_ROOT' run '$ROOTFS' --rm -- /bin/sh -c 'tty; stty size; test -t 0 && test -t 1 && echo yes; exit 5'" /dev/null </dev/null
	assert_eq 5 "$status"
	assert_has "$output" '33 77'
	assert_has "$output" yes
	assert_has "$output" /dev/
}

@test "signals are forwarded, and one that pid 1 does not handle ends it as it would another program" {
	local pid sig status
	for sig in TERM INT HUP; do
		fw run "$ROOTFS" --rm --name "box$sig" -- /bin/sh -c "trap 'exit 9' $sig; echo up; while :; do sleep 0.1; done" >"$BATS_TEST_TMPDIR/out.$sig" &
		pid=$!
		wait_until 5 grep -q up "$BATS_TEST_TMPDIR/out.$sig"
		kill -"$sig" "$(pgrep -f "name box$sig" | head -n1)"
		status=0
		wait "$pid" || status=$?
		assert_eq 9 "$status" "$sig"
	done
	fw run "$ROOTFS" --rm --name plain -- /bin/sleep 1000 &
	pid=$!
	wait_until 5 in_state plain started
	kill -TERM "$(pgrep -f 'name plain' | head -n1)"
	status=0
	wait "$pid" || status=$?
	assert_eq 143 "$status"
}

@test "--env, --cwd and --user reach pid 1" {
	run_rm --env 'A=x y' --env B= --cwd /tmp --user user:extra -- /bin/sh -c 'echo "$A|$B|$(pwd)|$(id -u)|$(id -g)|$HOME"'
	assert_eq 'x y||/tmp|1000|1001|/home' "$output"
	run_rm --user 1234:77 -- /bin/sh -c 'id -u; id -g'
	assert_eq '1234 77' "${lines[*]}"
	run_rm --user user -- /bin/sh -c 'id -G'
	assert_has "$output" 1001
	run_err 125 'nosuch' fw run "$ROOTFS" --rm --user nosuch -- /bin/true
	run_err 125 '/nowhere' fw run "$ROOTFS" --rm --cwd /nowhere -- /bin/true
	run_err 2 'NAME=VALUE' fw run "$ROOTFS" --rm --env nonsense -- /bin/true
}

@test "the environment is the instance's own, with the usual words" {
	FOO=bar run_rm -- /bin/sh -c 'env'
	refute_has "$output" FOO=
	refute_has "$output" FIRMWARED_
	assert_has "$output" PATH=/
	assert_has "$output" HOME=/root
}

@test "--bind, read-write and :ro, directories and files, missing targets made inside" {
	local dir=$BATS_TEST_TMPDIR/'dir with : colon'
	mkdir "$dir"
	echo there >"$dir/file"
	run_rm --bind "${dir//:/\\:}:/mnt/a" --bind "${dir//:/\\:}/file:/etc/firmware:ro" -- /bin/sh -c \
		'cat /mnt/a/file /etc/firmware; echo new >/mnt/a/new; echo x >/etc/firmware || echo read-only'
	assert_has "$output" $'there\nthere'
	assert_has "$output" read-only
	assert_eq new "$(<"$dir/new")"
	assert_eq there "$(<"$dir/file")"
	run_err 125 nosuch fw run "$ROOTFS" --rm --bind "$BATS_TEST_TMPDIR/nosuch:/mnt" -- /bin/true
	run_err 2 'is no bind' fw run "$ROOTFS" --rm --bind /tmp -- /bin/true
}

@test "a bind's target is resolved inside the instance: its links lead nowhere else" {
	local evil=$BATS_TEST_TMPDIR/evil
	new_root "$evil"
	ln -s "$BATS_TEST_TMPDIR/outside" "$evil/way"
	ln -s ../../../../../../../../../..//etc "$evil/up"
	mkdir "$BATS_TEST_TMPDIR/source"
	fw run "$evil" --rm --bind "$BATS_TEST_TMPDIR/source:/way/deeper" --bind "$BATS_TEST_TMPDIR/source:/up/made" -- /bin/true || true
	[[ ! -e $BATS_TEST_TMPDIR/outside ]]
	[[ ! -e /etc/made ]]
}

@test "a firmware whose /dev is a link cannot make the host side write elsewhere" {
	local evil=$BATS_TEST_TMPDIR/evil
	new_root "$evil"
	rm -r "${evil:?}/dev"
	ln -s "$BATS_TEST_TMPDIR/outside" "$evil/dev"
	mkdir "$BATS_TEST_TMPDIR/outside"
	run_err 125 /dev fw run "$evil" --rm -- /bin/true
	assert_eq '' "$(ls "$BATS_TEST_TMPDIR/outside")"
}

@test "the console of start is a pty whose log has every byte from the first" {
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sh -c 'printf first; tty; test -t 0 && echo tty; echo last'
	ended() { [[ $(fw get box state) == ready ]]; }
	wait_until 5 ended
	fw_ok logs box
	assert_has "$output" first
	assert_has "$output" last
	assert_eq first "${output:0:5}"
	fw_ok start box -- /bin/sh -c 'echo again; sleep 1; echo end'
	run --separate-stderr timeout 20 "$FIRMWARED" --root "$FW_ROOT" logs -f box
	assert_eq 0 "$status"
	assert_has "$output" again
	assert_has "$output" end
}

@test "start --attach exits as pid 1 did" {
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	run script -qec "'$FIRMWARED' --root '$FW_ROOT' start box --attach -- /bin/sh -c 'echo the first line; exit 6'" /dev/null </dev/null
	assert_eq 6 "$status"
	assert_has "$output" 'the first line'
}

@test "busybox init, which mounts /proc, /sys and devpts itself" {
	local final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	cat >"$final/etc/inittab" <<-'END'
		::sysinit:/bin/mount -t proc proc /proc
		::sysinit:/bin/mount -t sysfs sysfs /sys
		::sysinit:/bin/mount -t devpts devpts /dev/pts
		::sysinit:/bin/echo system is up
		::respawn:/bin/sleep 100000
		::shutdown:/bin/echo going down
	END
	fw_ok firmware add "$final" --name fw
	fw_ok prepare fw --name box
	fw_ok start box
	up() { fw logs box | grep -q 'system is up'; }
	wait_until 10 up
	assert_eq started "$(fw get box state)"
	fw_ok kill box --signal TERM --timeout 10s
	assert_eq ready "$(fw get box state)"
}

# sysvinit_tree DIR: the busybox tree with Debian's sysvinit as its init.
sysvinit_tree() {
	local dir=$1 deb=$BATS_TEST_TMPDIR/deb lib
	new_root "$dir"
	mkdir "$deb"
	(cd "$deb" && { apt-get download -qq sysvinit-core || { apt-get update -qq && apt-get download -qq sysvinit-core; }; }) >&2 2>/dev/null
	rm "$dir/sbin/init"
	dpkg-deb --fsys-tarfile "$deb"/sysvinit-core_*.deb | tar -C "$dir" -x ./sbin
	for lib in $(ldd "$dir/sbin/init" | grep -o '/[^ ]*'); do
		install -D "$lib" "$dir$lib"
	done
	cat >"$dir/etc/inittab" <<-'END'
		id:2:initdefault:
		si::sysinit:/bin/sh -c 'mount -t proc proc /proc; echo sysinit done'
		l2:2:wait:/bin/echo runlevel two
		x:2:respawn:/bin/sleep 100000
	END
}

@test "sysvinit, Debian's" {
	sysvinit_tree "$BATS_TEST_TMPDIR/final"
	fw_ok firmware add "$BATS_TEST_TMPDIR/final" --name fw
	fw_ok prepare fw --name box
	fw_ok start box
	two() { fw logs box | grep -q 'runlevel two'; }
	wait_until 10 two
	assert_has "$(fw logs box)" 'sysinit done'
	assert_eq started "$(fw get box state)"
	fw_ok kill box
	assert_eq ready "$(fw get box state)"
}

@test "a bare shell and a static program as init" {
	local tiny=$BATS_TEST_TMPDIR/tiny
	mkdir -p "$tiny/sbin"
	cat >"$BATS_TEST_TMPDIR/init.c" <<-'END'
		#include <stdio.h>
		#include <unistd.h>
		int main(void) { printf("pid %d\n", getpid()); fflush(stdout); pause(); return 0; }
	END
	gcc -static -o "$tiny/sbin/init" "$BATS_TEST_TMPDIR/init.c"
	fw_ok firmware add "$tiny" --name fw
	fw_ok prepare fw --name box
	fw_ok start box
	one() { fw logs box | grep -q 'pid 1'; }
	wait_until 5 one
	fw_ok restart box --signal TERM --timeout 1s
	assert_eq started "$(fw get box state)"
	fw_ok run "$ROOTFS" --rm -- /bin/sh -c 'echo $0 is $$'
	assert_eq '/bin/sh is 1' "$output"
}

@test "api_mounts none leaves the file systems to the program" {
	run_rm --unconfined --set api_mounts=none -- /bin/sh -c 'ls /proc | wc -l; mount -t proc proc /proc && ls /proc | grep -c "^1$"'
	assert_eq '0 1' "${lines[*]}"
}

@test "a program for another CPU is told as that" {
	local final=$BATS_TEST_TMPDIR/final
	new_root "$final"
	# An ELF header for a machine that surely has no handler (Motorola 68HC05, 72).
	printf '\x7fELF\x01\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\x48' >"$final/bin/foreign"
	head -c 100 /dev/zero >>"$final/bin/foreign"
	chmod +x "$final/bin/foreign"
	run_err 126 'it is for 68HC05' fw run "$final" --rm -- /bin/foreign
}

@test "pid 1 dies with its supervisor" {
	local pid
	fw_ok firmware add "$ROOTFS" --name fw
	fw_ok prepare fw --name box
	fw_ok start box -- /bin/sleep 1000
	pid=$(fw get box pid)
	kill -KILL "$(parent "$pid")"
	gone() { [[ ! -e /proc/$pid || $(cut -d' ' -f3 "/proc/$pid/stat") == Z ]]; }
	wait_until 5 gone
	assert_eq ready "$(fw get box state)"
	fw_ok start box -- /bin/sleep 1000
	assert_eq started "$(fw get box state)"
}
