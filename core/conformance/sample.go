// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
)

// takeSample copies what the user gave, or makes a directory and sees whether the hook takes that.
func (k *kit) takeSample(from *os.File) error {
	dir := filepath.Join(k.dir, "sample")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if from != nil {
		k.sample = filepath.Join(dir, filepath.Base("/firmware/"+strings.Trim(k.spec.Sample, "/")))
		return copyTree(fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), from.Fd()), k.sample)
	}
	k.own = true
	k.sample = filepath.Join(dir, "firmware")
	if err := makeTree(k.sample); err != nil {
		return err
	}
	if r := k.probe(k.sample); r.is(hook.ExitNotMine) == nil {
		return &UsageError{fmt.Sprintf("%s does not take a directory: give a SAMPLE that it can mount", filepath.Base(k.hook.Path))}
	}
	return nil
}

// makeTree makes a small firmware with one of each kind of thing.
func makeTree(dir string) error {
	for path, text := range map[string]string{"etc/firmware": "sample\n", "bin/program": "#!/bin/sh\n", "with space/ü": "\n"} {
		if err := writeFile(filepath.Join(dir, path), text); err != nil {
			return err
		}
	}
	var problems []error
	for _, name := range []string{"dev", "proc", "sys", "tmp"} {
		problems = append(problems, os.Mkdir(filepath.Join(dir, name), 0o755))
	}
	problems = append(problems,
		os.Chmod(filepath.Join(dir, "bin/program"), 0o755|os.ModeSetuid),
		os.Symlink("firmware", filepath.Join(dir, "etc/link")),
		unix.Mknod(filepath.Join(dir, "dev/null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	return errors.Join(problems...)
}

func (k *kit) probe(path string, change ...func(*request)) result {
	q := request{action: hook.ActionProbe, vars: map[string]string{hook.VarFirmware: path}}
	for key, value := range k.spec.Options {
		q.vars[hook.OptionVar(key)] = value
	}
	for _, f := range change {
		f(&q)
	}
	return k.call(q)
}
