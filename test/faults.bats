#!/usr/bin/env bats
# SPDX-License-Identifier: Apache-2.0
# kill -9 at every named step, one by one: a build of its own dies there (core/fault). Then
# the usual program must see a true state, find the rw layer whole, go on, and leave nothing.

load helpers

setup_file() {
	local var
	for var in $(compgen -v FIRMWARED_); do unset "$var"; done
	make -s -C "$BATS_TEST_DIRNAME/.." build/firmwared-faults >&2 3>&-
}

setup() {
	FAULTY=$REPO/build/firmwared-faults
	fw_setup
	mkdir "$BATS_TEST_TMPDIR/hooks"
	cp "$REPO/test/net/wire.hook" "$BATS_TEST_TMPDIR/hooks/"
	export FIRMWARED_HOOK_DIRS=$BATS_TEST_TMPDIR/hooks:${FIRMWARED_HOOK_DIRS:-$REPO/hooks}
	# The init stage of a user namespace writes it as nobody of this machine.
	chmod o+x "$BATS_RUN_TMPDIR" "$BATS_RUN_TMPDIR/test" "$BATS_TEST_TMPDIR"
	: >"$BATS_TEST_TMPDIR/hit"
	chmod 666 "$BATS_TEST_TMPDIR/hit"
	[[ $("$FAULTY" version) == *+faults ]] || fail "$FAULTY is no fault-injection build"
	[[ $("$FIRMWARED" version) != *+faults ]] || fail "$FIRMWARED is a fault-injection build"
}

teardown() { fw_teardown; }

# Each step, and the operations in which it is died at.
steps() {
	cat <<-'END'
		add add.copying add.read add.placed add.registered root.bound
		fetch fetch.begun fetch.fetched fetch.checked fetch.unpacked fetch.synced add.placed add.registered
		commit commit.begun commit.copied add.placed add.registered
		prepare prepare.marked prepare.registered lower.marked lower.recorded lower.mounted lower.verified union.stood
		prepare union.workspace union.recorded union.mounted union.verified prepare.mounted prepare.saved
		start start.limited start.mounted start.ready launch.claimed launch.spawned launch.answered supervise.opened supervise.grouped
		start sandbox.cloned init.told init.entered init.pivoted init.dressed init.released supervise.executed supervise.started supervise.renewed
		restarted union.unmounting union.unmounted union.forgotten union.left union.recorded union.mounted union.verified start.mounted
		end supervise.stopping supervise.ended supervise.emptied supervise.recorded
		remount union.unmounting union.unmounted union.forgotten union.left union.stood union.workspace union.mounted union.verified
		live_remount remount.marked remount.called
		reset reset.lifted reset.discarded reset.done
		reset_path reset.lifted reset.done
		restart kill.begun kill.done restart.killed union.unmounted launch.spawned
		kill kill.begun kill.done
		snapshot freeze.frozen snapshot.copied snapshot.placed
		snapshot_remove snapshot.condemned
		rollback rollback.copied rollback.exchanged union.unmounting union.unmounted union.mounted
		rollback_restart kill.done rollback.exchanged
		clone freeze.frozen clone.copied union.mounted prepare.saved
		drop drop.locked drop.condemned union.unmounting union.unmounted union.forgotten union.left drop.unmounted drop.emptied drop.emptied:2
		drop drop.noted drop.forgotten
		keep drop.kept drop.unmounted
		force_drop kill.begun kill.done drop.condemned
		remove remove.condemned lower.unmounting lower.unmounted lower.forgotten remove.unmounted remove.imageless remove.forgotten root.detached
		net_start net.recorded net.pinned net.created net.configured supervise.executed launch.answered
		net_end net.cleaning net.cleaned net.unpinned
		net_kill kill.done net.cleaning net.cleaned net.unpinned
		net_restart net.unpinned net.recorded net.created
		net_drop net.cleaning net.cleaned net.unpinned drop.condemned drop.emptied:2
		unmount lower.unmounting lower.unmounted lower.forgotten
		run add.registered run.added prepare.registered run.prepared supervise.executed supervise.ended supervise.recorded run.over drop.condemned drop.forgotten
	END
}

@test "every step of the build is died at below; the usual build dies at none" {
	assert_eq "$(FIRMWARED_FAULT=list "$FAULTY")" "$(steps | tr ' ' '\n' | grep '\.' | sed 's/:.*//' | sort -u)"
	# It has their names, for FIRMWARED_TRACE, and not what makes it die.
	! grep -q 'FIRMWARED_FAULT' "$FIRMWARED" || fail 'the usual build can die at steps'
}

# faulty STEP ARG...: the build that dies, on this test's root.
faulty() {
	local step=$1
	shift
	# The group takes what bash says of a job that was killed.
	{ FIRMWARED_FAULT=$step FIRMWARED_FAULT_LOG=$BATS_TEST_TMPDIR/hit "$FAULTY" --root "$FW_ROOT" "$@" 3>&- </dev/null >/dev/null; } 2>"$BATS_TEST_TMPDIR/err" || true
}

quietly() { fw "$@" >/dev/null </dev/null || fail "firmwared $*"; }

# with_box [start]: an instance that has written something.
with_box() {
	quietly firmware add "$IMAGE" --copy --name fw &&
		quietly prepare fw --name box || return
	ID=$(fw get box id)
	printf 'precious\n' >"$FW_ROOT/workspaces/$ID/union/file"
	[[ ${1:-} != start ]] || quietly start box -- /bin/sleep 1000
}

# with_net [start]: the same with a network.
with_net() {
	with_box && quietly set box net=wire || return
	[[ ${1:-} != start ]] || quietly start box -- /bin/sleep 1000
}

# not_starting: a supervisor whose command was killed at work on the network has ended.
not_starting() { [[ $(fw list --json | jq -r '.[] | "\(.state) \(.pid)"') != 'started null' ]]; }

# die OPERATION STEP
die() {
	case $1 in
	add) faulty "$2" firmware add "$IMAGE" --copy --name fw ;;
	fetch) gzip -c "$IMAGE" >"$BATS_TEST_TMPDIR/image.gz" && faulty "$2" firmware add "file://$BATS_TEST_TMPDIR/image.gz" --name fw ;;
	commit) with_box && faulty "$2" commit box --name new ;;
	prepare) quietly firmware add "$IMAGE" --copy --name fw && faulty "$2" prepare fw --name box ;;
	net_start) with_net && faulty "$2" start box -- /bin/sleep 1000 && wait_until 10 not_starting ;;
	net_end) with_net start && kill -KILL "$(fw show --json box | jq .supervisor_pid)" && wait_until 10 in_state box ready && faulty "$2" set box seen=y ;;
	net_kill) with_net start && faulty "$2" kill box ;;
	net_restart) with_net start && faulty "$2" restart box ;;
	net_drop) with_net start && faulty "$2" drop --force box ;;
	start) with_box && faulty "$2" start box -- /bin/sleep 1000 ;;
	restarted) with_box start && quietly kill box && faulty "$2" start box -- /bin/sleep 1000 ;;
	end) with_box && faulty "$2" start box -- /bin/sleep 1000 && quietly kill box ;;
	remount) with_box && faulty "$2" remount box ;;
	live_remount) with_box start && faulty "$2" remount box ;;
	reset) with_box && faulty "$2" reset box ;;
	reset_path) with_box && faulty "$2" reset box /file ;;
	restart) with_box start && faulty "$2" restart box ;;
	kill) with_box start && faulty "$2" kill box ;;
	snapshot) with_box start && faulty "$2" snapshot box one ;;
	snapshot_remove) with_box start && quietly snapshot box one && faulty "$2" snapshot box --remove one ;;
	rollback) with_box && quietly snapshot box one && faulty "$2" rollback box one ;;
	rollback_restart) with_box start && quietly snapshot box one && faulty "$2" rollback box one --restart ;;
	clone) with_box start && faulty "$2" clone box --name twin ;;
	drop) with_box && faulty "$2" drop box ;;
	keep) with_box && faulty "$2" drop --keep box ;;
	force_drop) with_box start && faulty "$2" drop --force box ;;
	remove) quietly firmware add "$IMAGE" --copy --name fw && quietly prepare fw --name box && quietly drop box && faulty "$2" firmware remove fw ;;
	unmount) quietly firmware add "$IMAGE" --copy --name fw && quietly prepare fw --name box && quietly drop box && faulty "$2" firmware unmount fw ;;
	run) faulty "$2" run "$IMAGE" --rm --name box -- /bin/true ;;
	esac
}

# true_state: list says what mounts and processes say, and nothing else is mounted.
true_state() {
	local list id state pid unions
	list=$(fw list --json) || return
	unions=$(leaked_mounts | sed -n 's|^.*/workspaces/\([^/]*\)/union$|\1|p' | sort)
	assert_eq "$(jq -r '.[] | select(.state != "unmounted") | .id' <<<"$list" | sort)" "$unions" 'unions mounted' || return
	while read -r id state pid; do
		if [[ $state == started ]]; then
			[[ $pid != null && -d /proc/$pid ]] || fail "$id is started, but process $pid is not there" || return
		elif [[ $state == ready || $state == unmounted ]]; then
			[[ $pid == null ]] || fail "$id is $state and has pid $pid" || return
		else
			fail "$id is $state" || return
		fi
	done < <(jq -r '.[] | "\(.id) \(.state) \(.pid)"' <<<"$list")
}

# survives OPERATION STEP: dies there and looks what came of it.
survives() {
	local said box file
	: >"$BATS_TEST_TMPDIR/hit"
	die "$@" || return
	[[ -s $BATS_TEST_TMPDIR/hit ]] || fail "never got there: $(<"$BATS_TEST_TMPDIR/err")" || return
	fw list --json >/dev/null && fw firmware list --json >/dev/null || return
	# The next command mends what was half done, and has nothing to complain of.
	said=$(fw firmware add "$TREE" --name other 2>&1 >/dev/null) || fail "next command: $said" || return
	assert_eq '' "$said" 'the next command said' || return
	true_state || return
	box=$(fw list --json | jq -r '.[] | select(.name == "box") | .state')
	case $1 in
	snapshot | snapshot_remove | clone)
		assert_eq started "$box" || return
		[[ ! -e $FW_ROOT/run/instances/$ID/frozen.json ]] || fail 'still frozen' || return
		! grep -qs 1 /sys/fs/cgroup/{,unified/}firmwared/"$(root_key)/i-$ID/cgroup.freeze" || fail 'still frozen' || return
		;;&
	snapshot | snapshot_remove | clone | rollback | rollback_restart)
		assert_eq '' "$(compgen -G "$FW_ROOT/workspaces/*/rw.*")$(compgen -G "$FW_ROOT/workspaces/*/snapshots/.[!.]*")" 'half made' || return
		;;&
	net_*)
		[[ $box == started ]] || assert_eq '' "$(leaked_interfaces; leaked_mounts | grep '/netns$')" 'of a network that is over' || return
		;;&
	net_start | net_end | net_kill | net_restart | start | restarted | end | remount | live_remount | reset | reset_path | restart | kill | snapshot | snapshot_remove | clone | rollback | rollback_restart)
		[[ $box ]] || fail 'the instance is gone' || return
		;;&
	run) [[ ! $box ]] || fail 'the instance is still there' || return ;;
	keep)
		file=$FW_ROOT/kept/$ID/file
		[[ $box ]] || assert_eq precious "$(<"$file")" || return
		rm -rf "$FW_ROOT/kept"
		;;&
	start | restarted | end | remount | live_remount | restart | kill | drop | keep | force_drop | commit | snapshot | snapshot_remove | clone | rollback | rollback_restart)
		if [[ $box ]]; then
			assert_eq precious "$(<"$FW_ROOT/workspaces/$ID/rw/file")" || return
		fi
		;;
	esac
	# It goes on as if nothing had been.
	if [[ $1 != run ]]; then
		fw firmware show fw >/dev/null 2>&1 || quietly firmware add "$IMAGE" --copy --name fw || return
		[[ $box ]] || quietly prepare fw --name box || return
		[[ $box == started ]] || quietly start box -- /bin/sleep 1000 || return
		true_state || return
	fi
	quietly drop --force --all && quietly firmware remove other || return
	! fw firmware show new >/dev/null 2>&1 || quietly firmware remove new || return
	! fw firmware show fw >/dev/null 2>&1 || quietly firmware remove fw || return
	assert_eq '[]' "$(fw firmware list --json)" firmwares || return
	fw gc >/dev/null && assert_eq '' "$(fw gc 2>&1)" 'a second gc' || return
	assert_eq '' "$(leaked_mounts)$(leaked_loops)$(leaked_cgroups)" 'left behind' || return
	assert_eq 'firmwares instances lowers mounts.json run workspaces' "$(cd "$FW_ROOT" && { printf '%s\n' *; echo mounts.json lowers workspaces | tr ' ' '\n'; } | grep -vxE 'images|downloads|events.*' | sort -u | paste -sd' ')" 'in the root' || return
	assert_eq '' "$(find "$FW_ROOT"/{instances,firmwares,images,downloads,workspaces,lowers,run/pending,run/instances,run/lowers} -mindepth 1 2>/dev/null)" 'in the root'
}

# survives_all OPERATION...
survives_all() {
	local operation step steps failed=
	IMAGE=$(ext2_image) TREE=$(busybox_root)
	for operation; do
		steps=$(steps | sed -n "s/^$operation //p")
		[[ $steps ]] || fail "no steps for $operation" || return
		for step in $steps; do
			survives "$operation" "$step" || {
				printf '^^^ %s died at %s\n' "$operation" "$step" >&2
				failed=y
				clear_leaks
				rm -rf "$FW_ROOT" && mkdir "$FW_ROOT"
			}
		done
	done
	[[ ! $failed ]]
}

@test "add" { survives_all add; }
@test "add of a URL" { survives_all fetch; }
@test "commit" { survives_all commit; }
@test "prepare" { survives_all prepare; }
@test "start: the command, the supervisor, the init stage" { survives_all start; }
@test "start of one that ran before, whose union is made anew" { survives_all restarted; }
@test "the end of an instance under its supervisor" { survives_all end; }
@test "remount, of a stopped and of a running one" { survives_all remount live_remount; }
@test "reset, whole and of a path" { survives_all reset reset_path; }
@test "restart and kill" { survives_all restart kill; }
@test "snapshot, its removal, rollback and clone" { survives_all snapshot snapshot_remove rollback rollback_restart clone; }
@test "drop, also --keep and --force" { survives_all drop keep force_drop; }
@test "firmware remove and unmount" { survives_all remove unmount; }
@test "a network: start, the end, kill, restart and drop" { survives_all net_start net_end net_kill net_restart net_drop; }
@test "run --rm of a path" { survives_all run; }

@test "Ctrl-C at a snapshot: nothing is left of it, and the instance goes on" {
	local pid status=0 ID IMAGE
	IMAGE=$(ext2_image)
	with_box start
	head -c 60000000 /dev/zero >"$FW_ROOT/workspaces/$ID/union/big" # or the copy is done before the signal is seen
	FIRMWARED_FAULT=freeze.frozen:1:stop FIRMWARED_FAULT_LOG=$BATS_TEST_TMPDIR/hit "$FAULTY" --root "$FW_ROOT" snapshot box one 3>&- </dev/null 2>"$BATS_TEST_TMPDIR/err" &
	pid=$!
	wait_until 5 test -s "$BATS_TEST_TMPDIR/hit"
	[[ -e $FW_ROOT/run/instances/$ID/frozen.json ]]
	kill -INT "$pid"
	kill -CONT "$pid"
	wait "$pid" || status=$?
	assert_eq 130 "$status"
	assert_has "$(<"$BATS_TEST_TMPDIR/err")" 'cannot take snapshot one of instance box'
	[[ ! -e $FW_ROOT/run/instances/$ID/frozen.json ]]
	fw_ok exec box -- /bin/true
	assert_eq '' "$(ls -A "$FW_ROOT/workspaces/$ID/snapshots")"
}

@test "the mark of a killed remount drops no run --rm between its prepare and its start" {
	local pid id
	FIRMWARED_FAULT=run.prepared:1:stop FIRMWARED_FAULT_LOG=$BATS_TEST_TMPDIR/hit \
		"$FAULTY" --root "$FW_ROOT" run "$(busybox_root)" --rm --name box -- /bin/echo ran 3>&- </dev/null >"$BATS_TEST_TMPDIR/out" &
	pid=$!
	wait_until 5 test -s "$BATS_TEST_TMPDIR/hit"
	id=$(fw get box id)
	touch "$FW_ROOT/run/pending/instance.$id.cccccccccccc"
	fw_ok firmware add "$(ext2_image)" --name other
	assert_eq ready "$(fw get box state)"
	fw_ok gc
	assert_eq '' "$output"
	kill -CONT "$pid"
	wait "$pid"
	assert_eq ran "$(<"$BATS_TEST_TMPDIR/out")"
	assert_eq '[]' "$(fw list --json)"
	fw_ok gc
	fw_ok gc
	assert_eq '' "$output"
}
