// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"firmwared/core/apparmor"
	"firmwared/core/registry"
	"firmwared/core/sandbox"
	"firmwared/core/word"
)

// Property is one that the program itself reads. Any other name is the user's
// own: kept, shown, never looked at.
type Property struct {
	Name  string
	List  bool // several words; the others have exactly one
	Doc   string
	check func(string) error
}

// properties are the names that mean something, in the order of the manual.
var properties = []Property{
	{Name: "cmdline", List: true, Doc: "program and arguments of pid 1"},
	{Name: "env", List: true, Doc: "environment of pid 1, NAME=VALUE", check: checkEnv},
	{Name: "cwd", Doc: "working directory of pid 1", check: checkAbsolute},
	{Name: "user", Doc: "user[:group] of pid 1, names of the firmware's own or numbers"},
	{Name: "hostname", Doc: "host name (default: the instance's name)", check: registry.CheckName},
	{Name: "api_mounts", Doc: "what is mounted for pid 1: all (/dev /proc /sys), dev, none", check: oneOf("all", "dev", "none")},
	{Name: "memory_max", Doc: "memory and swap that all its processes use together, as 512M", check: checked(parseMemory)},
	{Name: "cpu_max", Doc: "CPU time: CPUs, as 0.5, or microseconds per period, as 50000/100000", check: checkCPU},
	{Name: "pids_max", Doc: "how many processes and threads it may have", check: checked(parsePids)},
	{Name: "rw_max", Doc: "what its rw layer takes on the disk, as 2G, from its next start on; the state directory needs project quotas", check: checked(parseLayer)},
	{Name: "rw_files_max", Doc: "how many files its rw layer has, likewise", check: checked(parseFiles)},
	{Name: "log_max", Doc: "how large its console log may become (default: the setting log_max)", check: checked(parseLogMax)},
	{Name: "stop_signal", Doc: "signal that kill, restart and drop --force send first (default: killed at once)", check: checked(ParseSignal)},
	{Name: "profile", Doc: "AppArmor profile template (default: firmware)", check: apparmor.CheckName},
	{Name: "caps_add", List: true, Doc: "capabilities to leave it, of those that are taken by default: " + strings.Join(sandbox.DeniedCaps(), " "), check: checkCap},
	{Name: "caps_drop", List: true, Doc: "more capabilities to take", check: checkCap},
	{Name: "device_allow", List: true, Doc: "devices to lend: /dev/NAME or c:MAJOR:MINOR or b:MAJOR:MINOR, and :r or :rw or :rwm", check: checkDevice},
	{Name: "socketcall", Doc: "on: 32-bit x86 programs may make sockets by socketcall(2) without AppArmor, vsock included (default: off)", check: oneOf("on", "off")},
	{Name: "net", Doc: "network: none (a loopback interface of its own), veth (reachable from this machine), host, or a hook", check: checkNet},
	{Name: "net_interface", Doc: "name of the network interface inside (default: eth0)", check: checkNetInterface},
	{Name: "net_address", Doc: "its IPv4 address with the length, as 192.168.1.1/24 (default: one of net_pool)", check: checkNetAddress},
}

var validKey = word.Form{First: "a-z", Rest: "a-z0-9_.-", Max: 63}

// Properties lists the properties that mean something.
func Properties() []Property { return slices.Clone(properties) }

// IsList tells whether a property holds several words.
func IsList(key string) bool {
	p, _ := findProperty(key)
	return p.List
}

func findProperty(key string) (Property, bool) {
	i := slices.IndexFunc(properties, func(p Property) bool { return p.Name == key })
	if i < 0 {
		return Property{Name: key}, false
	}
	return properties[i], true
}

// parseProperty turns KEY=VALUE into a key and its words. A list is written as
// words separated by spaces, or as a JSON array when words hold spaces. An empty
// value unsets.
func parseProperty(assignment string) (key string, words []string, err error) {
	key, value, ok := strings.Cut(assignment, "=")
	if !ok || !validKey.MatchString(key) {
		return "", nil, fmt.Errorf("%q is no property: write KEY=VALUE, with a lower-case key", assignment)
	}
	if isShown(key) {
		return "", nil, fmt.Errorf("property %s cannot be set", key)
	}
	p, _ := findProperty(key)
	switch {
	case value == "":
		return key, nil, nil
	case !p.List:
		words = []string{value}
	case strings.HasPrefix(value, "["):
		if err := json.Unmarshal([]byte(value), &words); err != nil {
			return "", nil, fmt.Errorf("property %s: %q is no JSON array of strings", key, value)
		}
	default:
		words = strings.Fields(value)
	}
	for _, word := range words {
		if strings.ContainsRune(word, 0) {
			return "", nil, fmt.Errorf("property %s holds a zero byte", key)
		}
		if p.check != nil {
			if err := p.check(word); err != nil {
				return "", nil, fmt.Errorf("property %s: %w", key, err)
			}
		}
	}
	return key, words, nil
}

func parseProperties(assignments []string) (map[string][]string, error) {
	all := map[string][]string{}
	for _, assignment := range assignments {
		key, words, err := parseProperty(assignment)
		if err != nil {
			return nil, err
		}
		all[key] = words
	}
	return all, nil
}

// Set changes properties of an instance. Limits of a running one hold at once,
// all else at its next start. Needs Enter.
func (m *Manager) Set(ctx context.Context, inst *registry.Instance, assignments []string) error {
	set, err := parseProperties(assignments)
	if err != nil {
		return fmt.Errorf("cannot set on instance %s: %w", inst.Name, err)
	}
	return m.change(ctx, inst, func() error {
		if inst.Properties == nil {
			inst.Properties = map[string][]string{}
		}
		if err := m.judgeNet(ctx, "instance "+inst.Name, m.effective(inst, set), set); err != nil {
			return fmt.Errorf("cannot set on instance %s: %w", inst.Name, err)
		}
		for key, words := range set {
			if inst.Properties[key] = words; words == nil {
				delete(inst.Properties, key)
			}
		}
		if slices.ContainsFunc(limitKeys, func(key string) bool { _, changed := set[key]; return changed }) {
			if err := m.limitRunning(inst); err != nil {
				return fmt.Errorf("cannot set on instance %s: %w", inst.Name, err)
			}
		}
		return m.store.Instances.Save(inst)
	})
}

func checkEnv(word string) error {
	if name, _, ok := strings.Cut(word, "="); !ok || name == "" {
		return fmt.Errorf("%q is not NAME=VALUE", word)
	}
	return nil
}

// checked makes a check of a parser.
func checked[T any](parse func(string) (T, error)) func(string) error {
	return func(word string) error {
		_, err := parse(word)
		return err
	}
}

func checkCap(name string) error {
	_, err := sandbox.ParseCap(name)
	return err
}

func checkDevice(text string) error {
	_, err := sandbox.ParseLentDevice(text, false)
	return err
}

func checkAbsolute(path string) error {
	if !strings.HasPrefix(path, "/") {
		return fmt.Errorf("%q is not an absolute path", path)
	}
	return nil
}

func oneOf(values ...string) func(string) error {
	return func(v string) error {
		if slices.Contains(values, v) {
			return nil
		}
		return fmt.Errorf("%q is none of %s", v, strings.Join(values, ", "))
	}
}
