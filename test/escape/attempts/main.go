// SPDX-License-Identifier: Apache-2.0

// Command attempts tries, as root inside an instance, to harm the machine or to
// learn from it, in many separate ways, and prints a line
//
//	NAME: open|blocked|n/a|broken DETAIL
//
// for each. Each is harmless when it succeeds: a value is written back as it was,
// a call gets arguments that do nothing, a device is opened and not used. "n/a" is
// for what this kernel does not have, "broken" for an attempt that did not get as far
// as its question. It is static, is run by test/escape/suite.bash, and is not installed.
//
//	attempts            all of them, each in a process and a mount namespace of its own
//	attempts NAME       one, in this process
//	attempts list       NAME<tab>AREA<tab>what it tries, one a line
//	attempts host       on the machine itself: something to be found; see host.go
//	attempts watch-exe  see watch.go
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

type attempt struct {
	name, what string
	try        func() result
}

// limit is for one attempt; the machine may be an emulated one.
const limit = 60 * time.Second

// areas are in the order of the table that test/escape/table makes; suite.bash has more.
func areas() []area {
	return []area{
		{"files of the kernel in /proc and /sys", kernelFiles()},
		{"all that is writable there, found by looking", sweeps()},
		{"the kernel log", kernelLog()},
		{"disks and devices", devices()},
		{"modules, kexec, swap, BPF and other calls", slices.Concat(calls(), portCalls())},
		{"clocks", clocks()},
		{"mounts", slices.Concat(mounts(), newMountCalls())},
		{"processes, namespaces, descriptors", processes()},
		{"cgroups and limits", groups()},
		{"sockets, interfaces, names of the machine", slices.Concat(leaks(), neighbours())},
		{"keyrings", keys()},
		{"using the machine up", exhaustion()},
	}
}

type area struct {
	title    string
	attempts []attempt
}

func all() (list []attempt) {
	for _, a := range areas() {
		list = append(list, a.attempts...)
	}
	return list
}

func main() {
	if len(os.Args) < 2 {
		for _, a := range all() {
			fmt.Printf("%s: %s\n", a.name, runAlone(a.name))
		}
		return
	}
	switch name := os.Args[1]; name {
	case "list":
		for _, in := range areas() {
			for _, a := range in.attempts {
				fmt.Printf("%s\t%s\t%s\n", a.name, in.title, a.what)
			}
		}
	case "host":
		host()
	case "watch-exe":
		watchExe()
	case "eat":
		eat()
	case "fill":
		fill(os.Args[2])
	default:
		i := slices.IndexFunc(all(), func(a attempt) bool { return a.name == name })
		if i < 0 {
			fmt.Fprintf(os.Stderr, "attempts: no attempt %s\n", name)
			os.Exit(2)
		}
		// Nothing that is mounted here may get out; an instance's own init would not mind.
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			fmt.Println(broken("cannot make mounts private: %v", err))
			return
		}
		fmt.Println(all()[i].try())
	}
}

func runAlone(name string) result {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, os.Args[0], name)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	err := cmd.Run()
	if ctx.Err() != nil {
		return broken("not within %s", limit)
	}
	verdict, detail, _ := strings.Cut(strings.TrimSpace(out.String()), " ")
	if err != nil || strings.Contains(detail, "\n") {
		return broken("%v: %q", err, out.String())
	}
	return result{verdict, detail}
}
