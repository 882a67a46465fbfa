// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// watchExe is a pid 1 that waits for another program's file to appear behind a
// process of the instance, as firmwared's own does when a script asks for
// "#!/proc/self/exe" (CVE-2019-5736), holds it, and tries to open it for writing, which the kernel
// allows once nobody runs it. It says "ready", at the end of its input the verdict.
func watchExe() {
	self, err := os.Stat("/proc/self/exe")
	fatal(err)
	busybox, err := os.Stat("/bin/busybox")
	fatal(err)
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(end)
	}()
	fmt.Println("ready")
	held := map[string]int{} // descriptors by what they show
	for {
		select {
		case <-end:
			fmt.Println("exe-overwrite:", tryHeld(held))
			return
		default:
		}
		names, _ := filepath.Glob("/proc/[0-9]*/exe")
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil || os.SameFile(info, self) || os.SameFile(info, busybox) {
				continue
			}
			target, _ := os.Readlink(name)
			if _, have := held[target]; have {
				continue
			}
			if fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err == nil {
				held[target] = fd
			}
		}
	}
}

func tryHeld(held map[string]int) result {
	for target, fd := range held {
		var start [4]byte
		if n, err := unix.Pread(fd, start[:], 0); err != nil || !bytes.Equal(start[:n], []byte("\x7fELF")) {
			return broken("%s is no program: %v", target, err)
		}
		path := fmt.Sprintf("/proc/self/fd/%d", fd)
		var err error
		for range 40 {
			var writable int
			if writable, err = unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0); err == nil {
				defer unix.Close(writable)
				// A sealed copy in memory can be opened, and not be written to; nothing is written here, either.
				seals, sealErr := unix.FcntlInt(uintptr(writable), unix.F_GET_SEALS, 0)
				if sealErr == nil && seals&unix.F_SEAL_WRITE != 0 {
					return blocked("%s is sealed", target)
				}
				return open("%s", target)
			}
			if err != unix.ETXTBSY {
				return blocked("held %s: %v", target, err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		return broken("held %s, still running: %v", target, err)
	}
	return blocked("saw no program but the firmware's own")
}
