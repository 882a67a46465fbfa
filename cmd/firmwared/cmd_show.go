// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"firmwared/core"
)

func showCommand() *cli.Command {
	return &cli.Command{
		Name:      "show",
		Usage:     "show all about instances: state, mounts, walls, limits, last exit, last hook error",
		UsageText: "firmwared show I... [--json]",
		Description: `   firmwared show box
   firmwared show --json box | jq -r '.lowers[].source'    current, outdated, touched or gone`,
		Flags:        []cli.Flag{jsonFlag(), allFlag()},
		BashComplete: completeInstances,
		Action: func(c *cli.Context) error {
			m, err := look(c)
			if err != nil {
				return err
			}
			found, missing := instances(c, m)
			var infos []core.InstanceDetails
			for _, inst := range found {
				infos = append(infos, m.Details(inst))
			}
			if c.Bool("json") && len(infos) > 0 {
				if len(infos) == 1 && !c.Bool("all") {
					return errors.Join(printJSON(infos[0]), missing)
				}
				return errors.Join(printJSON(infos), missing)
			}
			for i, info := range infos {
				if i > 0 {
					fmt.Println()
				}
				showInstance(info)
			}
			return missing
		},
	}
}

// group begins a group of fields.
func group(name string) { fmt.Printf("\n%s\n", name) }

func showInstance(i core.InstanceDetails) {
	field("id", i.ID)
	field("name", i.Name)
	field("state", i.State)
	field("firmware", fmt.Sprintf("%s (%s)", i.Firmware, i.FirmwareID))
	field("ephemeral", i.Ephemeral)
	field("created", i.Created.Format(time.RFC3339))
	for _, key := range sortedKeys(i.Properties) {
		field("property", key+"="+joinWords(core.IsList(key), i.Properties[key]))
	}
	showRun(i)
	showMounts(i)
	showWalls(i)
	if len(i.Snapshots) > 0 {
		group("snapshots")
		for _, s := range i.Snapshots {
			field("snapshot", fmt.Sprintf("%s, %s, %s", s.Name, s.Created.Format(time.RFC3339), size(&s.Bytes)))
		}
	}
	group("log")
	field("file", i.Log.Path)
	field("bytes", i.Log.Bytes)
	field("dropped", i.Log.Dropped)
	field("lost", i.Log.Lost)
	showHookError(i.HookError)
}

func showRun(i core.InstanceDetails) {
	group("run")
	field("pid", pointer(i.PID))
	field("supervisor", pointer(i.SupervisorPID))
	if i.Started != nil {
		field("started", i.Started.Format(time.RFC3339))
	}
	field("last exit", i.ExitReason)
	field("walls", walls(i.InstanceInfo))
	if i.Start == nil {
		return
	}
	s := i.Start
	for _, option := range []struct {
		name  string
		words []string
	}{{"command", s.Args}, {"env", s.Env}, {"set", s.Set}} {
		if len(option.words) > 0 {
			field(option.name, joinWords(true, option.words))
		}
	}
	for _, option := range [][2]string{{"cwd", s.Cwd}, {"user", s.User}} {
		if option[1] != "" {
			field(option[0], option[1])
		}
	}
	for _, b := range s.Binds {
		mode := ""
		if b.ReadOnly {
			mode = ":ro"
		}
		field("bind", b.Source+":"+b.Target+mode)
	}
	if s.Unconfined {
		field("unconfined", true)
	}
}

func showMounts(i core.InstanceDetails) {
	group("mounts")
	field("workspace", i.Workspace)
	field("union", mounted(i.Union))
	for _, l := range i.Lowers {
		field("lower", fmt.Sprintf("%s, firmware %s, generation %s, %s", mounted(l.MountInfo), l.Firmware, l.Generation, l.Source))
	}
}

func mounted(m core.MountInfo) string {
	state := "mounted"
	if !m.Mounted {
		state = "not mounted"
	}
	return fmt.Sprintf("%s by hook %s at %s", state, m.Hook, m.Path)
}

// showWalls shows what bounds a running instance.
func showWalls(i core.InstanceDetails) {
	if c := i.Confinement; c != nil {
		group("confinement")
		field("apparmor", c.AppArmor)
		field("seccomp", c.Seccomp)
		field("user ns", c.UserNamespace)
		field("capabilities", strings.Join(c.Capabilities, " "))
	}
	if n := i.Network; n != nil {
		group("network")
		field("net", n.Mode)
		for _, address := range n.Addresses {
			field("address", address)
		}
		if n.HostInterface != "" {
			field("gateway", n.Gateway)
			field("outside", n.HostInterface+" "+n.HostAddress)
			field("reachable", n.Reachable)
		}
		for _, reach := range n.Published {
			field("published", reach)
		}
	}
	if l := i.Limits; l != nil {
		group("limits")
		field("memory_max", size(l.MemoryMax))
		field("cpu_max", pointer(l.CPUMax))
		field("pids_max", pointer(l.PidsMax))
		for _, path := range i.Cgroups {
			field("cgroup", path)
		}
	}
}

func showHookError(e *core.HookError) {
	if e == nil {
		return
	}
	group("last hook error")
	field("time", e.Time.Format(time.RFC3339))
	field("message", e.Message)
	for _, line := range e.Stderr {
		field("stderr", line)
	}
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
