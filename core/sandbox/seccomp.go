// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/moby/sys/capability"
	"golang.org/x/sys/unix"
)

// callGroup is system calls that are denied together, by one filter. The kernel
// asks every filter and the strictest answer wins.
type callGroup struct {
	name  string // of the filter in the generated tables
	errno uint16
	calls []string
	// values are of the argument arg, the first being 0; only calls with one of them are denied. None: all calls.
	values []uint32
	arg    uint32
	// applies says for whom the group is denied; nil for everybody.
	applies func(c *Confinement, denied []capability.Cap) bool
}

// unless makes a group go with a denied capability: who is lent the capability
// may make the calls.
func unless(lent capability.Cap) func(*Confinement, []capability.Cap) bool {
	return func(_ *Confinement, denied []capability.Cap) bool { return slices.Contains(denied, lent) }
}

// callGroups are the calls that reach the machine itself and that no firmware
// needs: a kernel that lets root make them inside of namespaces checks a
// capability only, or nothing. EPERM is what a process without the right would
// get; ENOSYS is for calls whose users fall back to others then. Allowed on
// purpose: reboot, which in a pid namespace ends that namespace only
// (reboot_pid_ns); mount, unshare and setns, which inits need; adjtimex, which
// reads without a capability.
var callGroups = []callGroup{
	{name: "machine", errno: uint16(unix.EPERM), calls: []string{
		"kexec_load", "kexec_file_load", "swapon", "swapoff", "open_by_handle_at", "acct", "quotactl", "quotactl_fd",
		"fanotify_init", "lookup_dcookie", "nfsservctl", "uselib", "vm86", "vm86old",
	}},
	// Keyrings are not namespaced by pid or mount; the others are the kernel's widest doors.
	{name: "absent", errno: uint16(unix.ENOSYS), calls: []string{
		"add_key", "request_key", "keyctl", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register",
	}},
	{name: "modules", errno: uint16(unix.EPERM), applies: unless(capability.CAP_SYS_MODULE), calls: []string{
		"init_module", "finit_module", "delete_module", "create_module", "query_module", "get_kernel_syms",
	}},
	{name: "time", errno: uint16(unix.EPERM), applies: unless(capability.CAP_SYS_TIME), calls: []string{
		"settimeofday", "clock_settime", "clock_settime64", "stime",
	}},
	{name: "ports", errno: uint16(unix.EPERM), applies: unless(capability.CAP_SYS_RAWIO), calls: []string{
		"iopl", "ioperm", "pciconfig_iobase", "pciconfig_read", "pciconfig_write",
	}},
	{name: "bpf", errno: uint16(unix.EPERM), applies: unless(capability.CAP_BPF), calls: []string{"bpf"}},
	{name: "perf", errno: uint16(unix.EPERM), applies: unless(capability.CAP_PERFMON), calls: []string{"perf_event_open"}},
	// With dmesg_restrict=0 anybody may read the kernel's log.
	{name: "log", errno: uint16(unix.EPERM), applies: unless(capability.CAP_SYSLOG), calls: []string{"syslog"}},
	// Sockets that reach the hypervisor, the machine's own processes or its modem from any network namespace.
	{name: "sockets", errno: uint16(unix.EAFNOSUPPORT), calls: []string{"socket"}, values: []uint32{unix.AF_VSOCK, unix.AF_QIPCRTR}},
	// 32-bit x86 programs can make them by a call whose arguments lie in memory, where no filter looks; glibc's do, musl's
	// only without socket(2). Its first argument is what to do. Only where no profile denies vsock besides.
	{name: "socketcall", errno: uint16(unix.ENOSYS), calls: []string{"socketcall"}, values: []uint32{sysSocket},
		applies: func(c *Confinement, _ []capability.Cap) bool { return c.Profile == "" && !c.SocketCall }},
	// A quota on the rw layer is a project's, and root may give its files to another one.
	{name: "projects", errno: uint16(unix.EPERM), applies: unless(capability.CAP_SYS_RESOURCE), calls: []string{"ioctl"}, arg: 1, values: []uint32{setFileAttr}},
	{name: "setattr", errno: uint16(unix.ENOSYS), applies: unless(capability.CAP_SYS_RESOURCE), calls: []string{"file_setattr"}},
	// AppArmor's rules for mounts do not see these in all kernels, so where a profile is the wall, they are not there;
	// mount(8) and inits then use the old call.
	{name: "mounts", errno: uint16(unix.ENOSYS), applies: func(c *Confinement, _ []capability.Cap) bool {
		return c.Profile != ""
	}, calls: []string{"fsopen", "fsconfig", "fsmount", "fspick", "open_tree", "open_tree_attr", "move_mount"}},
}

// sysSocket is socketcall(2)'s SYS_SOCKET (linux/net.h).
const sysSocket = 1

// setFileAttr is FS_IOC_FSSETXATTR (linux/fs.h).
const setFileAttr = 0x401c5820

// filterCalls loads the filters. They hold for what the thread executes and for
// its children, for ever.
func (c *Confinement) filterCalls() error {
	denied, err := deniedBy(c)
	if err != nil {
		return err
	}
	for _, group := range callGroups {
		if group.applies != nil && !group.applies(c, denied) {
			continue
		}
		if err := loadFilter(seccompFilters[group.name]); err != nil {
			return err
		}
	}
	return nil
}

// loadFilter is seccomp(2) for the calling thread alone.
func loadFilter(filter []unix.SockFilter) error {
	if len(filter) == 0 {
		return fmt.Errorf("there is none for %s (--unconfined does without)", runtime.GOARCH)
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	switch errno {
	case 0:
		return nil
	case unix.ENOSYS, unix.EINVAL:
		return errors.New("this kernel has none (CONFIG_SECCOMP_FILTER)")
	}
	return errno
}
