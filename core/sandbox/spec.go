// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Values of Spec.APIMounts.
const (
	// APIMountsAll mounts /dev, /proc and /sys. /sys is read-only, which inits
	// understand as "in a container, leave the hardware alone"; one that wants
	// more may remount it. Mounting /proc or /dev again works and stacks;
	// mounting sysfs again is refused by the kernel (EBUSY, one superblock per
	// network namespace) and harmless, because it is there already.
	APIMountsAll = "all"
	// APIMountsDev mounts /dev only.
	APIMountsDev = "dev"
	// APIMountsNone leaves all three to the program.
	APIMountsNone = "none"
)

// Values of Spec.Net.
const (
	// NetNone is a network namespace with nothing but lo, which is up.
	NetNone = "none"
	// NetHost is the network namespace of the caller.
	NetHost = "host"
)

// Spec says what to run and in which surroundings. It travels as JSON.
type Spec struct {
	// Program is the file of the init stage: a program of this same Build that calls
	// Main. Empty is the calling program itself, and so it arrives there.
	Program string `json:"-"`
	// Root is the mount point of the union, as the host sees it.
	Root string `json:"root"`
	// Hostname is left as it is when empty.
	Hostname string `json:"hostname,omitempty"`
	// Args[0] is looked for in the PATH of Env when it has no slash.
	Args []string `json:"args"`
	// Env holds K=V; of two with one name the later wins.
	Env []string `json:"env,omitempty"`
	// Cwd is / when empty. It must exist.
	Cwd string `json:"cwd,omitempty"`
	// User is USER[:GROUP], names or numbers, in the instance's own passwd and
	// group files; root when empty.
	User string `json:"user,omitempty"`
	// Terminal gives pid 1 a pty as stdin, stdout, stderr and controlling
	// terminal. Otherwise the three are pipes.
	Terminal bool `json:"terminal,omitempty"`
	// Rows and Cols are the terminal's size from its first moment.
	Rows uint16 `json:"rows,omitempty"`
	Cols uint16 `json:"cols,omitempty"`
	// APIMounts is one of the APIMounts constants, APIMountsAll when empty.
	APIMounts string `json:"api_mounts,omitempty"`
	Binds     []Bind `json:"binds,omitempty"`
	// Net is NetNone or NetHost, NetNone when empty.
	Net string `json:"net,omitempty"`
	// Cgroup names the existing cgroup2 group that pid 1 is born in and takes
	// for its root. Empty is the caller's.
	Cgroup []string `json:"cgroup,omitempty"`
	// LegacyCgroup names cgroup1 groups that pid 1 enters before it does anything;
	// those of that name that exist count (cgroup.EnterLegacy).
	LegacyCgroup []string `json:"legacy_cgroup,omitempty"`
	// Cell names the group that pid 1 is put into in every other cgroup1 tree
	// (cgroup.EnterCell). Empty is the caller's.
	Cell string `json:"cell,omitempty"`
	// CellAs is for Enter: a process that is in those cells that the command is to
	// be in, pid 1.
	CellAs int `json:"cell_as,omitempty"`
	// DeviceGroup names the cgroup1 group of the device filter, where it is one.
	DeviceGroup []string `json:"device_group,omitempty"`
	// IDs gives the instance a user namespace of its own; nil none. Root must then
	// be mounted for these ids.
	IDs *IDs `json:"ids,omitempty"`
	// Confine is what pid 1 runs under.
	Confine Confinement `json:"confine,omitzero"`
	// Made, if it is given, is called by Start when the namespaces are there and
	// nothing of the instance runs in them but the init stage, process pid, which
	// waits to be told. The start goes on when it returns; env then comes before
	// Env. An error ends the start.
	Made func(pid int) (env []string, err error) `json:"-"`
}

// Bind shows a file or directory of the host inside the instance, with the
// mounts below it.
type Bind struct {
	// Source is an absolute path of the host; links in it are followed.
	Source string `json:"source"`
	// Target is an absolute path of the instance, resolved inside it, and made
	// when missing.
	Target   string `json:"target"`
	ReadOnly bool   `json:"read_only,omitempty"`
}

// Validate refuses what can be refused without looking at any file.
func (s *Spec) Validate() error {
	if len(s.Args) == 0 || s.Args[0] == "" {
		return errors.New("cannot start: no program given")
	}
	if !filepath.IsAbs(s.Root) {
		return fmt.Errorf("cannot start: root %q is not an absolute path", s.Root)
	}
	if s.Cwd != "" && !filepath.IsAbs(s.Cwd) {
		return fmt.Errorf("cannot start: working directory %q is not an absolute path", s.Cwd)
	}
	if !slices.Contains([]string{"", APIMountsAll, APIMountsDev, APIMountsNone}, s.APIMounts) {
		return fmt.Errorf("cannot start: api mounts %q is not one of all, dev, none", s.APIMounts)
	}
	if !slices.Contains([]string{"", NetNone, NetHost}, s.Net) {
		return fmt.Errorf("cannot start: net %q is not one of none, host", s.Net)
	}
	if len(s.Hostname) > 64 {
		return fmt.Errorf("cannot start: hostname %q is longer than 64 bytes", s.Hostname)
	}
	return errors.Join(s.validateStrings(), s.validateBinds(), s.IDs.validate(), s.Confine.validate())
}

func (s *Spec) validateStrings() error {
	for _, e := range s.Env {
		if strings.IndexByte(e, '=') < 1 {
			return fmt.Errorf("cannot start: environment entry %q is not NAME=VALUE", e)
		}
	}
	for _, text := range slices.Concat(s.Args, s.Env, []string{s.Root, s.Cwd, s.User, s.Hostname}) {
		if strings.IndexByte(text, 0) >= 0 {
			return fmt.Errorf("cannot start: %q holds a zero byte", text)
		}
	}
	return nil
}

func (s *Spec) validateBinds() error {
	for _, b := range s.Binds {
		if !filepath.IsAbs(b.Source) || !filepath.IsAbs(b.Target) {
			return fmt.Errorf("cannot bind %q to %q: both must be absolute paths", b.Source, b.Target)
		}
		if filepath.Clean(b.Target) == "/" {
			return fmt.Errorf("cannot bind %q to /: the root is the union's", b.Source)
		}
		if strings.IndexByte(b.Source+b.Target, 0) >= 0 {
			return fmt.Errorf("cannot bind %q to %q: a path holds a zero byte", b.Source, b.Target)
		}
	}
	return nil
}

func (s *Spec) program() string {
	if s.Program == "" {
		return ownProgram
	}
	return s.Program
}

func (s *Spec) apiMounts() string {
	if s.APIMounts == "" {
		return APIMountsAll
	}
	return s.APIMounts
}
