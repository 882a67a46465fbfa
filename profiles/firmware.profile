# SPDX-License-Identifier: Apache-2.0
#
# The stock AppArmor profile of firmwared: what a firmware's pid 1, which is root and may be
# hostile, must not do to the machine through what the machine shares with it. Everything that
# is the instance's own (its files, its namespaces, its cgroup) is allowed.
#
# A template: firmwared puts the profile's name for @{profile}. One that also uses the instance's
# id or root (in braces, after an at sign, like the name) is rendered for each instance by itself.
#
# Names begin at the root of the process's mount namespace, and a descriptor from before the pivot
# gives names that begin at the root of its own mount. So every rule matches by the tail of the
# name, and holds wherever the instance mounts its procfs or sysfs. What could change a tail is
# denied as well: binding parts of these file systems elsewhere. The new mount calls (fsopen,
# open_tree, move_mount ...), which AppArmor does not mediate in all kernels, are answered with
# ENOSYS by firmwared's seccomp filter wherever this profile is the wall.

profile @{profile} flags=(attach_disconnected,mediate_deleted) {
  capability,
  network,
  # Not of a network namespace: it reaches the hypervisor and the machine's own processes.
  deny network vsock,
  file,
  mount,
  umount,
  pivot_root,

  # Its own processes, and the supervisor's signals, which come from outside of any profile.
  signal (send, receive) peer=@{profile},
  signal (receive) peer=unconfined,
  ptrace (trace, tracedby, read, readby) peer=@{profile},
  ptrace (tracedby, readby) peer=unconfined,

  # --- procfs -----------------------------------------------------------------
  deny /{,**/}sysrq-trigger rwklx,
  deny /{,**/}{kcore,kpagecount,kpageflags,kpagecgroup,slabinfo,vmallocinfo,timer_list,timer_stats,sched_debug,latency_stats,keys,key-users} rwklx,
  deny /{,**/}{mtrr,kmsg} rwklx,
  deny /{,**/}acpi/** wklx,
  deny /{,**/}scsi/scsi wklx,
  deny /{,**/}irq/** wklx,
  deny /{,**/}bus/pci/** wklx,
  deny /{,**/}dynamic_debug/** wklx,
  deny /{,**/}pressure/{cpu,io,memory,irq} wklx,

  # --- /proc/sys and /sys, both a directory "sys" ------------------------------
  # Writable below it: net (of the network namespace), fs/cgroup, fs/mqueue, and of kernel the names of the
  # host and the limits of System V IPC. AppArmor has no "all but", so it is spelt out letter by letter.
  deny /{,**/}sys/[^fkn]** wklx,
  deny /{,**/}sys/f[^s]** wklx,
  deny /{,**/}sys/fs/[^cm]** wklx,
  deny /{,**/}sys/fs/c[^g]** wklx,
  deny /{,**/}sys/fs/m[^q]** wklx,
  deny /{,**/}sys/n[^e]** wklx,
  deny /{,**/}sys/ne[^t]** wklx,
  deny /{,**/}sys/k[^e]** wklx,
  deny /{,**/}sys/ke[^r]** wklx,
  deny /{,**/}sys/kernel/[^dhms]** wklx,
  deny /{,**/}sys/kernel/d[^o]** wklx,
  deny /{,**/}sys/kernel/h[^o]** wklx,
  deny /{,**/}sys/kernel/ho[^s]** wklx,
  deny /{,**/}sys/kernel/m[^s]** wklx,
  deny /{,**/}sys/kernel/ms[^g]** wklx,
  deny /{,**/}sys/kernel/s[^he]** wklx,
  deny /{,**/}sys/kernel/sh[^m]** wklx,
  deny /{,**/}sys/kernel/se[^m]** wklx,
  deny /{,**/}sys/kernel/{debug,tracing,security}/** rwklx,
  deny /{,**/}sys/firmware/{efi,acpi,dmi}/** rwklx,
  # By their names alone, should one come without its directory.
  deny /{,**/}{core_pattern,core_pipe_limit,uevent_helper,release_agent,usermodehelper,poweroff_cmd,suid_dumpable,panic_on_oops,randomize_va_space} wklx,
  deny /{,**/}binfmt_misc/** wklx,

  # --- devices, besides the device filter ---------------------------------------
  deny /{,**/}dev/{mem,kmem,port,kmsg,hpet,nvram,rtc[0-9]*,watchdog*,cpu_dma_latency,mcelog,uinput,uhid,vhci,btrfs-control,loop-control,ppp} rwklx,
  deny /{,**/}dev/{sd,hd,vd,xvd,nvme,mmcblk,loop,dm-,md,nbd,sr,zram,mtd,ubi}[0-9a-z]* rwklx,
  deny /{,**/}dev/{mapper,cpu,vfio,bus,snd,dri,input,disk,block}/** rwklx,

  # --- mounts -------------------------------------------------------------------
  # One for the whole machine, whoever mounts it; cgroup is version 1, whose release agent is run by the host.
  deny mount fstype=(debugfs,tracefs,securityfs,configfs,pstore,efivarfs,devtmpfs,binfmt_misc,bpf,fusectl,cgroup,cpuset,rpc_pipefs,nfsd,selinuxfs,smackfs,resctrl,xenfs,oprofilefs),
  # A sysfs whose directory is not called sys would escape the rules above.
  deny mount fstype=sysfs -> /{,**/}[^s]*/,
  deny mount fstype=sysfs -> /{,**/}s[^y]*/,
  deny mount fstype=sysfs -> /{,**/}sy[^s]*/,
  deny mount fstype=sysfs -> /{,**/}{s,sy,sys?*}/,

  # A file system on a disk that the machine has mounted is found by the disk's number and shown again, without
  # opening the device, so the device filter is not asked (sget, fs/super.c). Of the others, these may be mounted:
  # autofs, cgroup2, devpts, fuse and fuse.*, hugetlbfs, mqueue, nfs, nfs4, overlay, proc, ramfs, sysfs, tmpfs.
  deny mount fstype=([^acdfhmnoprst]*,a[^u]*,a,au[^t]*,au,aut[^o]*,aut,auto[^f]*,auto,autof[^s]*,autof,autofs?*),
  deny mount fstype=(c[^g]*,c,cg[^r]*,cg,cgr[^o]*,cgr,cgro[^u]*,cgro,cgrou[^p]*,cgrou,cgroup[^2]*,cgroup,cgroup2?*),
  deny mount fstype=(d[^e]*,d,de[^v]*,de,dev[^p]*,dev,devp[^t]*,devp,devpt[^s]*,devpt,devpts?*,f[^u]*,f,fu[^s]*,fu,fus[^e]*,fus,fuse[^.]*),
  deny mount fstype=(h[^u]*,h,hu[^g]*,hu,hug[^e]*,hug,huge[^t]*,huge,huget[^l]*,huget,hugetl[^b]*,hugetl,hugetlb[^f]*,hugetlb,hugetlbf[^s]*,hugetlbf,hugetlbfs?*),
  deny mount fstype=(m[^q]*,m,mq[^u]*,mq,mqu[^e]*,mqu,mque[^u]*,mque,mqueu[^e]*,mqueu,mqueue?*,n[^f]*,n,nf[^s]*,nf,nfs[^4]*,nfs4?*),
  deny mount fstype=(o[^v]*,o,ov[^e]*,ov,ove[^r]*,ove,over[^l]*,over,overl[^a]*,overl,overla[^y]*,overla,overlay?*,p[^r]*,p,pr[^o]*,pr,pro[^c]*,pro,proc?*),
  deny mount fstype=(r[^a]*,r,ra[^m]*,ra,ram[^f]*,ram,ramf[^s]*,ramf,ramfs?*,s[^y]*,s,sy[^s]*,sy,sys[^f]*,sys,sysf[^s]*,sysf,sysfs?*),
  deny mount fstype=(t[^m]*,t,tm[^p]*,tm,tmp[^f]*,tmp,tmpf[^s]*,tmpf,tmpfs?*),
  # A single file of procfs, bound elsewhere, would have another name. A systemd binds two of them onto themselves.
  deny mount /{,**/}{kcore,kpagecount,kpageflags,kpagecgroup,slabinfo,vmallocinfo,timer_list,sched_debug,keys,key-users,kmsg},
  deny mount /{,**/}sysrq-trigger -> /{,**/}{[^s]*,s[^y]*,sy[^s]*,sys[^r]*,sysr[^q]*,sysrq[^-]*,sysrq-[^t]*,sysrq-t[^r]*,sysrq-tr[^i]*,sysrq-tri[^g]*,sysrq-trig[^g]*,sysrq-trigg[^e]*,sysrq-trigge[^r]*,sysrq-trigger?*,s,sy,sys,sysr,sysrq,sysrq-,sysrq-t,sysrq-tr,sysrq-tri,sysrq-trig,sysrq-trigg,sysrq-trigge},
  deny mount /{,**/}mtrr -> /{,**/}{[^m]*,m[^t]*,mt[^r]*,mtr[^r]*,mtrr?*,m,mt,mtr},

  # Parts of procfs and sysfs may be bound, but only to where the rules above go on to match: a systemd
  # binds them onto themselves to make them read-only for its services. Again spelt out letter by letter.
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/,/p,/pr,/pro,/proc,/proc/,/proc/a,/proc/ac,/proc/acp,/proc/b,/proc/bu,/proc/i,/proc/ir,/proc/s,/proc/sc,/proc/scs,/proc/sy,/r,/ru,/run,/run/,/run/s},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/sy,/run/sys,/run/syst,/run/syste,/run/system,/run/systemd,/run/systemd/,/run/systemd/m,/run/systemd/mo,/run/systemd/mou,/run/systemd/moun},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount,/run/systemd/mount-,/run/systemd/mount-r,/run/systemd/mount-ro,/run/systemd/mount-roo,/run/systemd/mount-root},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootf,/run/systemd/mount-rootfs,/run/systemd/mount-rootfs/,/run/systemd/mount-rootfs/p,/run/systemd/mount-rootfs/pr},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/pro,/run/systemd/mount-rootfs/proc,/run/systemd/mount-rootfs/proc/,/run/systemd/mount-rootfs/proc/a},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc/ac,/run/systemd/mount-rootfs/proc/acp,/run/systemd/mount-rootfs/proc/b,/run/systemd/mount-rootfs/proc/bu},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc/i,/run/systemd/mount-rootfs/proc/ir,/run/systemd/mount-rootfs/proc/s,/run/systemd/mount-rootfs/proc/sc},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc/scs,/run/systemd/mount-rootfs/proc/sy,/run/systemd/mount-rootfs/s,/run/systemd/mount-rootfs/sy,/run/systemd/u},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/un,/run/systemd/uni,/run/systemd/unit,/run/systemd/unit-,/run/systemd/unit-r,/run/systemd/unit-ro,/run/systemd/unit-roo},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root,/run/systemd/unit-root/,/run/systemd/unit-root/p,/run/systemd/unit-root/pr,/run/systemd/unit-root/pro},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/proc,/run/systemd/unit-root/proc/,/run/systemd/unit-root/proc/a,/run/systemd/unit-root/proc/ac,/run/systemd/unit-root/proc/acp},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/proc/b,/run/systemd/unit-root/proc/bu,/run/systemd/unit-root/proc/i,/run/systemd/unit-root/proc/ir},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/proc/s,/run/systemd/unit-root/proc/sc,/run/systemd/unit-root/proc/scs,/run/systemd/unit-root/proc/sy,/run/systemd/unit-root/s},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/sy,/s,/sy},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/[^prs]**,/p[^r]**,/pr[^o]**,/pro[^c]**,/proc[^/]**,/proc/[^abis]**,/proc/a[^c]**,/proc/ac[^p]**,/proc/acp[^i]**,/proc/b[^u]**,/proc/bu[^s]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/proc/i[^r]**,/proc/ir[^q]**,/proc/s[^cy]**,/proc/sc[^s]**,/proc/scs[^i]**,/proc/sy[^s]**,/r[^u]**,/ru[^n]**,/run[^/]**,/run/[^s]**,/run/s[^y]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/sy[^s]**,/run/sys[^t]**,/run/syst[^e]**,/run/syste[^m]**,/run/system[^d]**,/run/systemd[^/]**,/run/systemd/[^mu]**,/run/systemd/m[^o]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mo[^u]**,/run/systemd/mou[^n]**,/run/systemd/moun[^t]**,/run/systemd/mount[^-]**,/run/systemd/mount-[^r]**,/run/systemd/mount-r[^o]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-ro[^o]**,/run/systemd/mount-roo[^t]**,/run/systemd/mount-root[^f]**,/run/systemd/mount-rootf[^s]**,/run/systemd/mount-rootfs[^/]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/[^ps]**,/run/systemd/mount-rootfs/p[^r]**,/run/systemd/mount-rootfs/pr[^o]**,/run/systemd/mount-rootfs/pro[^c]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc[^/]**,/run/systemd/mount-rootfs/proc/[^abis]**,/run/systemd/mount-rootfs/proc/a[^c]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc/ac[^p]**,/run/systemd/mount-rootfs/proc/acp[^i]**,/run/systemd/mount-rootfs/proc/b[^u]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc/bu[^s]**,/run/systemd/mount-rootfs/proc/i[^r]**,/run/systemd/mount-rootfs/proc/ir[^q]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc/s[^cy]**,/run/systemd/mount-rootfs/proc/sc[^s]**,/run/systemd/mount-rootfs/proc/scs[^i]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc/sy[^s]**,/run/systemd/mount-rootfs/s[^y]**,/run/systemd/mount-rootfs/sy[^s]**,/run/systemd/u[^n]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/un[^i]**,/run/systemd/uni[^t]**,/run/systemd/unit[^-]**,/run/systemd/unit-[^r]**,/run/systemd/unit-r[^o]**,/run/systemd/unit-ro[^o]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-roo[^t]**,/run/systemd/unit-root[^/]**,/run/systemd/unit-root/[^ps]**,/run/systemd/unit-root/p[^r]**,/run/systemd/unit-root/pr[^o]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/pro[^c]**,/run/systemd/unit-root/proc[^/]**,/run/systemd/unit-root/proc/[^abis]**,/run/systemd/unit-root/proc/a[^c]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/proc/ac[^p]**,/run/systemd/unit-root/proc/acp[^i]**,/run/systemd/unit-root/proc/b[^u]**,/run/systemd/unit-root/proc/bu[^s]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/proc/i[^r]**,/run/systemd/unit-root/proc/ir[^q]**,/run/systemd/unit-root/proc/s[^cy]**,/run/systemd/unit-root/proc/sc[^s]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/proc/scs[^i]**,/run/systemd/unit-root/proc/sy[^s]**,/run/systemd/unit-root/s[^y]**,/run/systemd/unit-root/sy[^s]**,/s[^y]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/sy[^s]**,/proc/acpi[^/]**,/proc/bus[^/]**,/proc/irq[^/]**,/proc/scsi[^/]**,/proc/sys[^/]**,/sys[^/]**,/run/systemd/mount-rootfs/proc/acpi[^/]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc/bus[^/]**,/run/systemd/mount-rootfs/proc/irq[^/]**,/run/systemd/mount-rootfs/proc/scsi[^/]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/mount-rootfs/proc/sys[^/]**,/run/systemd/mount-rootfs/sys[^/]**,/run/systemd/unit-root/proc/acpi[^/]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/proc/bus[^/]**,/run/systemd/unit-root/proc/irq[^/]**,/run/systemd/unit-root/proc/scsi[^/]**},
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}{sys,irq,acpi,scsi,bus}{,/**} -> {/run/systemd/unit-root/proc/sys[^/]**,/run/systemd/unit-root/sys[^/]**},
  # Nor from there to where writing is allowed, but for the names of the host: ProtectHostname= binds them onto themselves.
  deny mount options in (rw,ro,bind,rbind,move,nosuid,nodev,noexec,silent,noatime,relatime) /{,**/}sys{,/,/[^fk]**,/k,/k[^e]**,/ke,/ke[^r]**,/ker,/ker[^n]**,/kern,/kern[^e]**,/kerne,/kerne[^l]**,/kernel,/kernel[^/]**,/kernel/,/kernel/[^dh]**,/kernel/d,/kernel/d[^o]**,/kernel/h,/kernel/h[^o]**,/kernel/ho,/kernel/ho[^s]**,/f,/f[^s]**,/fs,/fs/,/fs/[^c]**,/fs/c[^g]**} -> /{,**/}sys/{net,fs/c,fs/m,kernel/d,kernel/h,kernel/m,kernel/s}**,
}
