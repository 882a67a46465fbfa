// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"firmwared/core/config"
	"firmwared/core/hook"
	"firmwared/core/sandbox"
)

// smallProgram is the file that supervisors and init stages run: this program does
// the same, but a process of it costs several times the memory and the time. It
// is empty where there is no other, or where it cannot be trusted.
func smallProgram() string {
	path, _ := findSmall()
	return path
}

var errNoSmall = errors.New("this build has none")

var findSmall = sync.OnceValues(func() (string, error) {
	path := config.DefaultSupervise
	if path == "" {
		return "", errNoSmall
	}
	// One that was replaced since this program was started, or that is seen from
	// another mount namespace, may belong to another build.
	if !atHome() {
		return "", errors.New("this program is no longer where it was started from")
	}
	if err := hook.Trusted(path); err != nil {
		return "", err
	}
	return path, nil
})

// program looks at what supervises instances.
func (d *doctor) program(ctx context.Context) {
	path, err := SmallProgram(ctx)
	if path == "" {
		path = "none, firmwared supervises by itself"
	}
	status := Warning
	if smallProgram() != "" { // it is used
		status = Problem
	}
	d.judge(status, "firmwared-supervise", err, path, "install both programs from one build, owned by root")
}

func atHome() bool {
	path, err := os.Executable()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	if err != nil {
		return false
	}
	own, err := os.Stat("/proc/self/exe")
	return err == nil && os.SameFile(there, own)
}

// SmallProgram returns the file of firmwared-supervise, or why it is not used; the
// path is empty in a build without one.
func SmallProgram(ctx context.Context) (path string, err error) {
	if path, err = findSmall(); errors.Is(err, errNoSmall) {
		return "", nil
	}
	if err != nil {
		return config.DefaultSupervise, fmt.Errorf("firmwared supervises by itself, which takes more memory: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").Output()
	if err != nil {
		return path, fmt.Errorf("%s cannot be run: %w", path, err)
	}
	return path, sandbox.CheckBuild(strings.TrimSpace(strings.TrimPrefix(string(out), "firmwared-supervise ")))
}
