# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the machine is made of: a distribution kernel and the AppArmor tools, downloaded with
# apt and unpacked below the cache directory, never installed on this host; and the initrd.
#
# A kernel's directory is  $CACHE/kernel-RELEASE/{image,extra/,initrd}  and is renamed into
# place when it is complete. Callers hold the cache lock.

# What the initrd loads, to find the guest's root and to prepare it. The rest is modprobe's.
readonly EARLY_MODULES=(virtio_pci virtio_blk virtio_console virtio_rng 9p 9pnet_virtio overlay ext4 fuse binfmt_misc)

# Installs what this host lacks: one "command package" pair a line.
vm_install_tools() {
	local command package missing=()

	while read -r command package; do
		type -P "$command" >/dev/null || missing+=("$package")
	done <<-'LIST'
		qemu-system-x86_64 qemu-system-x86
		busybox busybox-static
		xz xz-utils
		zstd zstd
		mke2fs e2fsprogs
		setpriv util-linux
	LIST
	((${#missing[@]})) || return 0
	((EUID == 0)) || die "cannot install ${missing[*]}: not root"
	note "installing ${missing[*]}"
	vm_apt install -y --no-install-recommends "${missing[@]}" ||
		die "cannot install ${missing[*]}: apt-get failed"
}

# apt-get, quietly; once more after an update when the package lists are too old.
vm_apt() {
	local quiet=(-qq -o Dpkg::Use-Pty=0 -o APT::Sandbox::User=root)

	DEBIAN_FRONTEND=noninteractive apt-get "${quiet[@]}" "$@" >&2 && return 0
	apt-get "${quiet[@]}" update >&2 || return 1
	DEBIAN_FRONTEND=noninteractive apt-get "${quiet[@]}" "$@" >&2
}

# Prints the directory of the newest kernel whose version begins with $1 (empty: any).
# One that was unpacked before is used without asking the network.
vm_kernel() {
	local dir

	dir=$(printf '%s\n' "$CACHE"/kernel-"$1"*/ | grep -E "/kernel-$(vm_version_regex "$1")" | sort -V | tail -n 1)
	if [[ -z $dir || ! -d $dir ]]; then
		dir=$(vm_fetch_kernel "$1") || exit
	fi
	dir=${dir%/}
	if [[ $HERE/guest/init -nt $dir/initrd || $HERE/kernel.bash -nt $dir/initrd ]]; then
		vm_make_initrd "$dir" || die "cannot make the initrd in $dir"
	fi
	printf '%s\n' "$dir"
}

# 6.1 must not match 6.12.
vm_version_regex() {
	local escaped=${1//./\\.}

	printf '%s' "${escaped:+$escaped([.-]|/\$)}"
}

# Prints the release of the newest kernel that apt offers: 6.12.117+deb12-amd64 (Debian) or
# 6.8.0-45-generic (Ubuntu, which keeps the modules in packages of their own).
vm_newest_release() {
	apt-cache search --names-only '^linux-image-[0-9].*-(amd64|generic)$' |
		sed -n 's/^linux-image-\([0-9][^ ]*\) - .*/\1/p' |
		grep -E -- '^[0-9]+\.[0-9]+\.[0-9]+[-+.0-9a-z]*-(amd64|generic)$' |
		grep -E -v -- '-(cloud|rt)-|-unsigned' |
		grep -E "^$(vm_version_regex "$1")" | sort -V | tail -n 1
}

vm_fetch_kernel() {
	local release dir="$CACHE/new.$$" optional

	release=$(vm_newest_release "$1")
	if [[ -z $release ]]; then
		apt-get -qq update >&2
		release=$(vm_newest_release "$1")
	fi
	[[ $release ]] || die "cannot find a kernel ${1:-of any version}: apt offers none"
	note "downloading kernel $release"
	rm -rf "$dir"
	mkdir -p "$dir/debs" "$dir/extra"
	(
		cd "$dir/debs" || exit
		vm_apt download "linux-image-$release" apparmor libapparmor1 kmod libkmod2 || exit
		for optional in "linux-modules-$release" "linux-modules-extra-$release"; do
			[[ -z $(apt-cache show "$optional" 2>/dev/null) ]] || vm_apt download "$optional" || exit
		done
	) || die "cannot download kernel $release: apt-get failed"
	vm_unpack "$dir" "$release" || die "cannot unpack kernel $release"
	rm -rf "$dir/debs"
	mv -T "$dir" "$CACHE/kernel-$release" || exit
	printf '%s\n' "$CACHE/kernel-$release"
}

# The unpacked tree becomes the upper of two lower layers, so a directory /lib of its own
# would hide the link /lib -> usr/lib below it: everything goes to /usr.
vm_unpack() {
	local dir=$1 release=$2 deb

	for deb in "$dir"/debs/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" |
			tar -x -C "$dir/extra" --transform='s,^\./\(bin\|sbin\|lib\)\(/\|$\),./usr/\1\2,S' \
				--exclude='./usr/share/doc' --exclude='./usr/share/man' ||
			return
	done
	chmod 755 "$dir/extra"
	vm_kmod "$dir" depmod -b "$dir/extra/usr" "$release" || return
	vm_take_image "$dir" "$dir/extra/boot/vmlinuz-$release" "$dir/extra/boot/config-$release" || return
	printf '%s\n' "$release" >"$dir/release"
	rm -rf "$dir/extra/boot"
}

# Runs one of kmod's commands from the unpacked tree: this host may have no kmod at all.
vm_kmod() {
	local dir=$1 command=$2

	shift 2
	(
		LD_LIBRARY_PATH=$(printf '%s:' "$dir"/extra/usr/lib/*-linux-gnu*)
		export LD_LIBRARY_PATH
		exec -a "$command" "$dir/extra/usr/bin/kmod" "$@"
	)
}

# QEMU starts an ELF vmlinux with a PVH note directly, which saves the decompressor's 5 s
# under emulation. It lies in the bzImage (Documentation/arch/x86/boot.rst: setup_sects at
# 0x1f1, payload_offset at 0x248, payload_length at 0x24c; the last 4 bytes are its size).
vm_take_image() {
	local dir=$1 image=$2 config=$3 sects offset length tool

	cp "$image" "$dir/image" || return
	grep -q '^CONFIG_PVH=y' "$config" || return 0
	sects=$(od -An -tu1 -j $((0x1f1)) -N 1 "$image")
	offset=$(od -An -tu4 -j $((0x248)) -N 4 "$image")
	length=$(od -An -tu4 -j $((0x24c)) -N 4 "$image")
	offset=$(((sects + 1) * 512 + offset))
	for tool in zstd xz gzip; do
		tail -c +$((offset + 1)) "$image" | head -c $((length - 4)) | "$tool" -dc >"$dir/vmlinux" 2>/dev/null || continue
		mv "$dir/vmlinux" "$dir/image"
		return
	done
	rm -f "$dir/vmlinux"
}

# busybox, guest/init and the few modules that lead to the guest's root, uncompressed.
vm_make_initrd() {
	local dir=$1 tree release module list kind path name number=100
	local -A seen=()

	release=$(<"$dir/release")
	tree=$(mktemp -d) || return
	mkdir -p "$tree"/{bin,modules,proc,sys,dev,host,extra,job,keep,up,scratch,new}
	cp "$(type -P busybox)" "$tree/bin/busybox" && cp "$HERE/guest/init" "$tree/init" && chmod 755 "$tree/init" || return
	for module in "${EARLY_MODULES[@]}"; do
		list=$(vm_kmod "$dir" modprobe -d "$dir/extra/usr" -S "$release" --show-depends "$module") || return
		while read -r kind path _; do
			[[ $kind == insmod && -z ${seen[$path]-} ]] || continue
			seen[$path]=1
			number=$((number + 1))
			name=${path##*/}
			vm_plain_module "$path" >"$tree/modules/$number-${name%%.ko*}.ko" || return
		done <<<"$list"
	done
	(cd "$tree" && find . | busybox cpio -o -H newc 2>/dev/null) >"$dir/initrd.new" && mv "$dir/initrd.new" "$dir/initrd" || return
	rm -rf "$tree"
}

vm_plain_module() {
	case $1 in
	*.zst) zstd -dc "$1" ;;
	*.xz) xz -dc "$1" ;;
	*.gz) gzip -dc "$1" ;;
	*) cat "$1" ;;
	esac
}
