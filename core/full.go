// SPDX-License-Identifier: Apache-2.0

package core

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// isFull tells whether an error means that there is no room, or are no inodes, on
// a file system.
func isFull(err error) bool {
	return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT)
}

// explainMount says of a failed mount what the kernel's "no space left on device"
// leaves out: that it is the number of mounts.
func explainMount(err error) error {
	limit, limitErr := os.ReadFile("/proc/sys/fs/mount-max")
	table, tableErr := os.ReadFile("/proc/self/mountinfo")
	most, parseErr := strconv.Atoi(strings.TrimSpace(string(limit)))
	if err == nil || errors.Join(limitErr, tableErr, parseErr) != nil {
		return err
	}
	// A mount may need several at once: its copies in other namespaces count too.
	if have := bytes.Count(table, []byte("\n")); have+have/8+2 >= most {
		return fmt.Errorf("%w; there are %d mounts already and may be %d: raise the limit (sysctl fs.mount-max)", err, have, most)
	}
	return err
}
