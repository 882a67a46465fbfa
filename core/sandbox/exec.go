// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"firmwared/core/fault"
)

const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// confineAndExec is the end of both stages, pid 1's and that of a command in a
// running instance: what confines a program of the instance is done here, to the
// calling thread, and nowhere else. become is given the program as it was found
// and its whole environment; it returns only when the program cannot be run.
func (s *initStage) confineAndExec(become func(path string, env []string) error) error {
	for _, step := range []func() error{
		s.resolveUser,
		s.dropPrivileges,
		s.enterCwd,
		s.cleanInheritance,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	env := s.environment()
	path, err := findProgram(s.spec.Args[0], lookupEnv(env, "PATH"))
	if err != nil {
		return err
	}
	if err := s.spec.Confine.enterProfile(s.proc); err != nil {
		return err
	}
	return become(path, env)
}

// exec makes this very process pid 1's program.
func (s *initStage) exec(path string, env []string) error {
	if err := s.awaitGo(); err != nil {
		return err
	}
	fault.Point("init.released")
	// syscall.Exec also gives back the limit of open files that the Go runtime
	// raised.
	return explainExec(path, syscall.Exec(path, s.spec.Args, env))
}

// environment adds the defaults.
func (s *initStage) environment() []string {
	defaults := []string{"PATH=" + defaultPath, "HOME=" + s.user.home, "container=firmwared"}
	if s.spec.Terminal {
		defaults = append(defaults, "TERM=linux")
	}
	return mergeEnv(defaults, s.spec.Env)
}

// mergeEnv leaves one entry a name, the last.
func mergeEnv(lists ...[]string) []string {
	var env []string
	at := map[string]int{}
	for _, list := range lists {
		for _, entry := range list {
			name, _, _ := strings.Cut(entry, "=")
			if i, found := at[name]; found {
				env[i] = entry
				continue
			}
			at[name] = len(env)
			env = append(env, entry)
		}
	}
	return env
}

func lookupEnv(env []string, name string) string {
	for _, entry := range env {
		if value, found := strings.CutPrefix(entry, name+"="); found {
			return value
		}
	}
	return ""
}

// findProgram searches as execvp(3) does: with the rights of the user that pid 1
// is by now, and with an empty element meaning the working directory.
func findProgram(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	denied := false
	for _, dir := range strings.Split(path, ":") {
		if dir == "" {
			dir = "."
		}
		file := dir + "/" + name
		info, err := os.Stat(file)
		if err != nil || info.IsDir() {
			continue
		}
		if unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
		denied = true
	}
	if denied {
		return "", &ExecError{Path: name, Err: unix.EACCES}
	}
	return "", &ExecError{Path: name, NotFound: true, Err: fmt.Errorf("not found in %s", path)}
}

// explainExec puts an errno of execve(2) into words: the kernel says the same
// for "no such program" and "no loader for it".
func explainExec(path string, err error) error {
	e := &ExecError{Path: path, Err: err}
	info, statErr := os.Stat(path)
	switch {
	case errors.Is(statErr, fs.ErrNotExist) || errors.Is(statErr, unix.ENOTDIR):
		e.NotFound, e.Err = true, fmt.Errorf("the firmware has no such file: %w", err)
	case statErr == nil && info.IsDir():
		e.Err = fmt.Errorf("it is a directory: %w", err)
	case errors.Is(err, unix.ENOENT):
		e.Err = fmt.Errorf("the loader or interpreter it needs is not in the firmware: %w", err)
	case errors.Is(err, unix.ENOEXEC):
		e.Err = explainFormat(path, err)
	}
	return e
}

// machines are the ELF machine numbers that firmwares come with.
var machines = map[uint16]string{
	2: "sparc", 3: "i386", 8: "mips", 20: "powerpc", 21: "powerpc64", 22: "s390", 40: "arm", 42: "sh",
	43: "sparc64", 62: "x86_64", 94: "xtensa", 183: "aarch64", 243: "riscv", 258: "loongarch",
}

func explainFormat(path string, err error) error {
	header := make([]byte, 20)
	file, openErr := os.Open(path)
	if openErr != nil {
		return err
	}
	defer file.Close()
	n, _ := file.ReadAt(header, 0)
	switch {
	case strings.HasPrefix(string(header[:n]), "#!"):
		return fmt.Errorf("the interpreter that its first line names cannot run on this machine: %w", err)
	case n < len(header) || string(header[:4]) != "\x7fELF":
		return fmt.Errorf("neither a program nor a script with a #! line: %w", err)
	}
	return fmt.Errorf("it is a program for %s, this machine is %s and has no binfmt_misc handler for it: %w",
		machineOf(header), runtime.GOARCH, err)
}

func machineOf(header []byte) string {
	number := uint16(header[18]) | uint16(header[19])<<8
	if header[5] == 2 {
		number = uint16(header[19]) | uint16(header[18])<<8
	}
	if name, found := machines[number]; found {
		return name
	}
	return fmt.Sprintf("machine %d", number)
}
