// SPDX-License-Identifier: Apache-2.0

package apparmor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	enabledFile = "/sys/module/apparmor/parameters/enabled"
	securityFS  = "/sys/kernel/security/apparmor"
	parserName  = "apparmor_parser"
)

// toolDirs are where the parser is looked for, whatever the caller's PATH says.
var toolDirs = []string{"/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"}

// Enforces returns nil where profiles can be loaded and are enforced, else an
// error that names what is missing.
func Enforces() error { return enforces() }

var enforces = sync.OnceValue(func() error {
	if err := KernelEnforces(); err != nil {
		return err
	}
	_, err := parser()
	return err
})

// KernelEnforces is Enforces without the question for the parser.
func KernelEnforces() error {
	enabled, err := os.ReadFile(enabledFile)
	switch {
	case err != nil:
		return errors.New("this kernel has no AppArmor")
	case strings.TrimSpace(string(enabled)) != "Y":
		return errors.New("AppArmor is switched off in this kernel (boot with apparmor=1 security=apparmor)")
	case unix.Access(securityFS+"/.replace", unix.W_OK) != nil:
		return fmt.Errorf("AppArmor cannot be reached: %s is missing (mount -t securityfs securityfs /sys/kernel/security)", securityFS)
	}
	return nil
}

func parser() (string, error) {
	for _, dir := range toolDirs {
		path := filepath.Join(dir, parserName)
		if unix.Access(path, unix.X_OK) == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("the program %s is missing (install the package apparmor)", parserName)
}

// Label is what a process runs under, as "NAME (enforce)" or "unconfined". Where
// the kernel has no AppArmor it is empty.
func Label(pid int) (string, error) {
	if _, err := os.Stat(enabledFile); err != nil {
		return "", nil
	}
	// Another security module may own attr/current: the directory of its own came
	// with Linux 5.8.
	label, err := os.ReadFile(fmt.Sprintf("/proc/%d/attr/apparmor/current", pid))
	if errors.Is(err, os.ErrNotExist) {
		label, err = os.ReadFile(fmt.Sprintf("/proc/%d/attr/current", pid))
	}
	if err != nil {
		return "", fmt.Errorf("cannot read the AppArmor label of process %d: %w", pid, err)
	}
	return strings.TrimRight(string(label), "\x00\n"), nil
}

// mode returns "enforce", "complain" ... of a loaded profile, "" of none.
func mode(name string) (string, error) {
	list, err := os.ReadFile(securityFS + "/profiles")
	if err != nil {
		return "", fmt.Errorf("cannot list the loaded AppArmor profiles: %w", err)
	}
	return findMode(string(list), name), nil
}

// findMode looks in lines of the form "NAME (MODE)"; a name may hold blanks.
func findMode(list, name string) string {
	for line := range strings.Lines(list) {
		rest, found := strings.CutPrefix(strings.TrimSpace(line), name+" (")
		if found && strings.HasSuffix(rest, ")") && !strings.Contains(rest, " ") {
			return strings.TrimSuffix(rest, ")")
		}
	}
	return ""
}
