// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// Build tells programs that were made together from others. It is set by the
// Makefile.
var Build = "devel"

// ownProgram is the file of the calling program, wherever that was started.
const ownProgram = "/proc/self/exe"

// CheckBuild is for the receiver of an order: it is understood only by a program
// that was made together with the sender's.
func CheckBuild(sender string) error {
	if sender == Build {
		return nil
	}
	return fmt.Errorf("firmwared is of build %s, firmwared-supervise of %s: install both from one build", sender, Build)
}

// guardedProgram is a program as a stage runs it. A firmware whose first program
// begins with "#!/proc/self/exe" has the stage's own program run again, inside, and
// can hold it open from there; so can one that looks at a command that enters it.
// Without a user namespace its root could then write to the host's file
// (CVE-2019-5736). So a stage runs from a read-only mount that is in no mount
// namespace, or else from a copy in memory.
//
// It must be closed before a program of the instance runs in the stage's place, or a
// process that the instance can name is forked. That dissolves the mount
// (dissolve_on_fput, fs/namespace.c), and one that is dissolved can no more be made
// writable by mount_setattr(2) or cloned; until then a descriptor of the program
// would do for that.
func guardedProgram(path string) (*os.File, error) {
	file, err := readOnlyClone(path)
	if err != nil { // a program of another mount namespace, or of a detached mount
		return sealedCopy(path)
	}
	return file, nil
}

// asideOf returns a number for a descriptor that stays out of the way of a child's
// files, which are all among open, in ascending order: it is none that they are given
// in the child, nor one that they are moved to on the way, which are those right above
// the highest of them (syscall.forkAndExecInChild). Mostly it is below 64: for a larger
// table of descriptors a process with threads waits for an RCU grace period, 10 ms or
// so (expand_files, fs/file.c), and what the caller left open may be far above.
func asideOf(open []int) int {
	at := 2*len(open) + 2
	for _, fd := range open {
		if fd > at {
			break
		}
		at = max(at, 2*fd+2)
	}
	return at
}

// openNumbers are the descriptors that this process has, in ascending order.
func openNumbers() ([]int, error) {
	entries, err := os.ReadDir("/proc/self/fd")
	var open []int
	for _, entry := range entries {
		if n, err := strconv.Atoi(entry.Name()); err == nil {
			open = append(open, n)
		}
	}
	slices.Sort(open)
	return open, err
}

// aside moves a descriptor out of the way of a child's own.
func aside(fd int, name string) (*os.File, error) {
	defer unix.Close(fd)
	open, err := openNumbers()
	if err != nil {
		return nil, err
	}
	moved, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, asideOf(open))
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(moved), name), nil
}

func readOnlyClone(path string) (*os.File, error) {
	tree, err := unix.OpenTree(unix.AT_FDCWD, path, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return nil, err
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NODEV, Propagation: unix.MS_PRIVATE}
	if err := unix.MountSetattr(tree, "", unix.AT_EMPTY_PATH, attr); err != nil {
		unix.Close(tree)
		return nil, err
	}
	return aside(tree, path)
}

func sealedCopy(path string) (*os.File, error) {
	from, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	fd, err := unix.MemfdCreate("firmwared", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|unix.MFD_EXEC)
	if errors.Is(err, unix.EINVAL) { // before Linux 6.3 all are executable
		fd, err = unix.MemfdCreate("firmwared", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make memory file: %w", err)
	}
	file, err := aside(fd, path)
	if err != nil {
		return nil, err
	}
	if _, err = io.Copy(file, from); err == nil {
		seals := unix.F_SEAL_SEAL | unix.F_SEAL_SHRINK | unix.F_SEAL_GROW | unix.F_SEAL_WRITE
		// Pages that the kernel is still busy with make it refuse (memfd_wait_for_pins).
		for range 20 {
			if _, err = unix.FcntlInt(file.Fd(), unix.F_ADD_SEALS, seals); !errors.Is(err, unix.EBUSY) {
				break
			}
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("cannot copy this program: %w", err)
	}
	return file, nil
}
