// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"
)

// host stands on the machine's side: it listens where an instance must not reach
// it, and prints, as assignments, how it could be found. It ends when its input does.
func host() {
	name := fmt.Sprintf("firmwared-escape-%d", os.Getpid())
	abstract, err := net.Listen("unix", "@"+name)
	fatal(err)
	defer abstract.Close()
	port, err := net.Listen("tcp4", "127.0.0.1:0")
	fatal(err)
	defer port.Close()
	key := os.Getpid() | 0x46570000
	id, err := unix.SysvShmGet(key, 4096, unix.IPC_CREAT|unix.IPC_EXCL|0o600)
	fatal(err)
	defer func() { _, _ = unix.SysvShmCtl(id, unix.IPC_RMID, nil) }()
	var uts unix.Utsname
	fatal(unix.Uname(&uts))
	fmt.Printf("ESCAPE_ABSTRACT=%s\nESCAPE_PORT=%d\nESCAPE_SHM=%d\nESCAPE_PID=%d\nESCAPE_HOST=%s\n", name,
		port.Addr().(*net.TCPAddr).Port, key, os.Getpid(), unix.ByteSliceToString(uts.Nodename[:]))
	os.Stdout.Close()
	_, _ = io.Copy(io.Discard, os.Stdin)
}

func fatal(err error) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "attempts: %v\n", err)
		os.Exit(1)
	}
}
