// SPDX-License-Identifier: Apache-2.0

package devicefilter

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"firmwared/core/cgroup"
)

func TestAttach(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := unix.Mknod(disk, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))); err != nil {
		t.Fatal(err)
	}
	group, err := cgroup.Make(fmt.Sprintf("firmwared-test-filter-%d", os.Getpid()))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := group.Remove(); err != nil {
			t.Error(err)
		}
	}()
	any := cgroup.Device{Major: cgroup.AnyNumber, Minor: cgroup.AnyNumber, Access: "m"}
	block := any
	block.Block = true
	list := []cgroup.Device{
		{Major: 1, Minor: 3, Access: "rw"}, {Major: 1, Minor: 5, Access: "r"}, any, block, {Major: 1, Minor: 7, Access: "m"},
		{Major: 5, Minor: cgroup.AnyNumber, Access: "wr"}, {Major: cgroup.AnyNumber, Minor: 8, Access: "r"},
	}
	if err := Attach(list, group); err != nil {
		t.Fatal(err)
	}
	dir, err := group.Dir()
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/bin/sh", "-c", `exec 3>/dev/null;  try() { "$@" >&3 2>&3 && printf y || printf n; }
		try head -c1 /dev/null; try sh -c 'echo >/dev/null'; try head -c1 /dev/zero; try sh -c 'echo >/dev/zero'
		try head -c1 /dev/urandom; try head -c1 /dev/random;
		try head -c1 /dev/full; try test -c /dev/full; try sh -c 'exec 4<>/dev/ptmx'; try head -c1 `+disk+`; try mknod `+disk+`2 b 8 0; try head -c1 `+disk+`2; rm -f `+disk+`2`)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if have, err := cmd.Output(); err != nil || string(have) != "yyynnynyynyn" {
		t.Errorf("%s, %v", have, err)
	}
}
