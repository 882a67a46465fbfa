# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# QEMU: whether KVM works here, and the command line.

# A KVM that works has booted as far as the probe asks in a second or two.
readonly PROBE_LIMIT=15

# Prints "kvm" or "tcg". /dev/kvm may open, and even run code, without being able to boot a
# distribution's kernel in any useful time (a paravirtual KVM does that), so it is tried,
# once per boot of this host. Callers hold the cache lock.
vm_accel() {
	local kernel=$1 memory="$CACHE/accel" boot_id known answer=tcg

	boot_id="$(</proc/sys/kernel/random/boot_id)"
	if [[ -r $memory ]] && read -r known answer <"$memory" && [[ $known == "$boot_id" ]]; then
		printf '%s\n' "$answer"
		return
	fi
	answer=tcg
	if [[ -r /dev/kvm && -w /dev/kvm ]]; then
		note "trying KVM, for at most $PROBE_LIMIT s"
		! vm_probe_kvm "$kernel" || answer=kvm
	fi
	printf '%s %s\n' "$boot_id" "$answer" >"$memory"
	printf '%s\n' "$answer"
}

vm_probe_kvm() {
	local -a qemu=()

	vm_base_command qemu "$1" kvm 512 1 'vm.probe'
	timeout --signal=KILL "$PROBE_LIMIT" setpriv --pdeathsig KILL "${qemu[@]}" -serial stdio </dev/null 2>/dev/null |
		grep -q 'vm: probe ok'
}

# vm_base_command ARRAY KERNEL-DIR ACCEL MEMORY CPUS APPEND: adds to the (empty) array.
vm_base_command() {
	local -n array=$1
	local kernel=$2 accel=$3 memory=$4 cpus=$5 append=$6 cpu=max

	[[ $accel != kvm ]] || cpu=host
	# smm=off: some KVMs have no system management mode. mitigations=off, nokaslr: time.
	array+=(
		qemu-system-x86_64 -M "q35,smm=off,accel=$accel" -cpu "$cpu" -m "$memory" -smp "$cpus"
		-nodefaults -no-user-config -display none -nic none -no-reboot
		-kernel "$kernel/image" -initrd "$kernel/initrd"
		-append "console=ttyS0 quiet panic=-1 apparmor=1 security=apparmor mitigations=off nokaslr $append"
	)
}

# vm_add_share ARRAY TAG DIRECTORY READONLY(on|off). A comma in an option's value is doubled.
vm_add_share() {
	local -n share_array=$1

	share_array+=(-virtfs "local,mount_tag=$2,path=${3//,/,,},security_model=none,readonly=$4,multidevs=remap")
}

# vm_add_port ARRAY NAME FILE
vm_add_port() {
	local -n port_array=$1

	port_array+=(-chardev "file,id=$2,path=${3//,/,,}" -device "virtserialport,chardev=$2,name=$2")
}

# vm_make_disk FILE SIZE. An ext4 that takes no space until it is used. -m 0: root's reserve would hide "disk full".
vm_make_disk() {
	truncate -s "$2" "$1" && mke2fs -q -F -t ext4 -m 0 -E lazy_itable_init=1,lazy_journal_init=1 "$1" >&2
}
