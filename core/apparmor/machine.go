// SPDX-License-Identifier: Apache-2.0

package apparmor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/dirlock"
)

// machineDir is the one place where all state directories of this machine agree
// on whose a loaded profile is: a link with its name leads to its record. A
// profile whose link leads nowhere is nobody's: its state directory was deleted
// without firmwared.
var machineDir = "/run/firmwared/profiles"

// prefix is that of every profile that this program loads.
const prefix = "firmwared_"

// OwnName is the name of a profile that serves one instance alone.
func OwnName(id string) string { return prefix + id }

// ErrInUse says that a process runs under a profile. Removed, it would leave the
// process unconfined.
var ErrInUse = errors.New("a process runs under it")

// lockMachine is held while a profile and its link are brought to agree.
func lockMachine() (unlock func(), err error) { return dirlock.Lock(machineDir) }

func machineLink(name string) string { return filepath.Join(machineDir, name) }

// claimed tells whether a profile's link leads to this store's record.
func (s Store) claimed(name string) bool {
	target, err := os.Readlink(machineLink(name))
	return err == nil && target == s.record(name)
}

// claim takes the place of whoever had the name: it carries a key, or an id, of
// this state directory's own.
func (s Store) claim(name string) error {
	if s.claimed(name) {
		return nil
	}
	if err := os.Remove(machineLink(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.Symlink(s.record(name), machineLink(name))
}

// Stale lists the loaded profiles of this program that no state directory has on
// record and that no process runs under.
func Stale() []string {
	list, err := os.ReadFile(filepath.Join(securityFS, "profiles"))
	if err != nil {
		return nil
	}
	names := orphans(string(list))
	if len(names) == 0 {
		return nil
	}
	used, err := labels()
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(names, func(name string) bool { return used[name] })
}

// orphans are this program's profiles in the kernel's list, in lines of the form
// "NAME (MODE)", whose link leads nowhere.
func orphans(list string) (names []string) {
	for line := range strings.Lines(list) {
		name, _, ok := strings.Cut(line, " (")
		if !ok || !strings.HasPrefix(name, prefix) || strings.ContainsRune(name, '/') {
			continue
		}
		if _, err := os.Stat(machineLink(name)); errors.Is(err, os.ErrNotExist) {
			names = append(names, name)
		}
	}
	return names
}

// RemoveStale takes a profile that Stale listed out of the kernel, if it still is
// nobody's.
func RemoveStale(name string) error {
	unlock, err := lockMachine()
	if err != nil {
		return fmt.Errorf("cannot remove AppArmor profile %s: %w", name, err)
	}
	defer unlock()
	if !slices.Contains(Stale(), name) {
		return nil
	}
	return unload(name)
}

// unload takes a profile out of the kernel; one that is not there is no error.
// The caller holds lockMachine.
func unload(name string) error {
	if KernelEnforces() == nil {
		used, err := labels()
		if err == nil && used[name] {
			err = ErrInUse
		}
		if err == nil {
			if err = write(".remove", []byte(name)); errors.Is(err, unix.ENOENT) {
				err = nil
			}
		}
		if err != nil {
			return fmt.Errorf("cannot remove AppArmor profile %s: %w", name, err)
		}
	}
	if err := os.Remove(machineLink(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot forget AppArmor profile %s: %w", name, err)
	}
	return nil
}

// labels are the profiles that processes run under, by name.
func labels() (map[string]bool, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	used := map[string]bool{}
	for _, entry := range entries {
		if name := entry.Name(); name[0] < '1' || name[0] > '9' {
			continue
		}
		for _, attr := range []string{"attr/apparmor/current", "attr/current"} {
			label, err := os.ReadFile(filepath.Join("/proc", entry.Name(), attr))
			if err != nil {
				continue
			}
			if !dead(entry.Name()) {
				name, _, _ := strings.Cut(strings.TrimRight(string(label), "\x00\n"), " (")
				used[name] = true
			}
			break
		}
	}
	return used, nil
}

// dead tells of a process that is only waited for: it keeps its label.
func dead(pid string) bool {
	stat, err := os.ReadFile(filepath.Join("/proc", pid, "stat"))
	if err != nil {
		return true
	}
	state := stat[bytes.LastIndexByte(stat, ')')+1:] // the program's name may hold one
	return bytes.HasPrefix(state, []byte(" Z")) || bytes.HasPrefix(state, []byte(" X"))
}
