// SPDX-License-Identifier: Apache-2.0

package config

import "strings"

// setting is one row of the table below. Values travel as TOML decodes them:
// string, int64, []any, map[string]any.
type setting struct {
	key  string
	form string // what may be written, for people
	doc  string // one sentence
	def  func() any
	text func(string) (any, error) // the environment's text as a value; nil: the text itself
	set  func(*Config, any) error  // checks and stores
	show func(*Config) string      // the stored value in TOML
}

// env gives the variable that sets the key. No key may be named so that this
// is a variable of the hook contract; a test watches over it.
func (s setting) env() string { return "FIRMWARED_" + strings.ToUpper(s.key) }

func (s setting) setText(c *Config, text string) error {
	if s.text == nil {
		return s.set(c, text)
	}
	v, err := s.text(text)
	if err != nil {
		return err
	}
	return s.set(c, v)
}

// settings is the only source of the keys: loading, `firmwared config`, the
// example file and the manual page are all made from it.
var settings = []setting{
	pathSetting("state_dir", &DefaultStateDir, func(c *Config) *string { return &c.StateDir },
		"Where firmwares, instances and their workspaces are kept; --root moves it."),
	pathSetting("run_dir", &DefaultRunDir, func(c *Config) *string { return &c.RunDir },
		"Where run-time files are kept, which a reboot ends; --root moves it."),
	pathsSetting("hook_dirs", &DefaultHookDirs, func(c *Config) *[]string { return &c.HookDirs },
		"Directories of hooks; the first that has a hook of the wanted name wins."),
	pathsSetting("profile_dirs", &DefaultProfileDirs, func(c *Config) *[]string { return &c.ProfileDirs },
		"Directories of AppArmor profile templates; the first that has a template of the wanted name wins."),
	textSetting("union_hook", "mount", "name of a hook", checkHookName, func(c *Config) *string { return &c.Union },
		"The hook that makes the unions."),
	textSetting("apparmor", "auto", "auto, required or off", oneOf("auto", "required", "off"),
		func(c *Config) *string { return &c.AppArmor },
		"Whether instances run under AppArmor: auto, where the kernel enforces it; required, or not at all."),
	textSetting("userns", "auto", "auto, on or off", oneOf("auto", "on", "off"),
		func(c *Config) *string { return &c.UserNS },
		"Whether instances run in a user namespace: auto, where AppArmor does not enforce."),
	idsSetting("userns_range", "1879048192:262144000", func(c *Config) (*uint32, *uint32) { return &c.UserNSFirst, &c.UserNSCount },
		"The ids that instances in user namespaces are given, 65536 each, for users and groups; nobody else may have them."),
	textSetting("net_pool", "10.202.0.0/16", "IPv4 network, from /8 to /29", checkPool, func(c *Config) *string { return &c.NetPool },
		"The addresses that instances with a network are given, 4 each."),
	wordsSetting("cmdline", []string{"/sbin/init"}, func(c *Config) *[]string { return &c.Cmdline },
		"Program and arguments of pid 1 for instances whose property cmdline does not say."),
	countSetting("jobs", 0, 1024, func(c *Config) *int { return &c.Jobs },
		"How many objects a command works on at once; 0 is the number of processors."),
	timeoutsSetting("hook_timeouts", "Time limits of hooks, by hook or by hook and action, and of life-cycle hooks by directory, as \"dead.d\"; others keep the contract's."),
	textSetting("detach_keys", "ctrl-]", "keys separated by commas", checkKeys,
		func(c *Config) *string { return &c.DetachKeys },
		"The keys that leave an attached console without ending the instance."),
	sizeSetting("log_max", 16<<20, func(c *Config) *int64 { return &c.LogMax },
		"How large an instance's console log may become."),
	sizeSetting("fetch_max", 16<<30, func(c *Config) *int64 { return &c.FetchMax },
		"How large a firmware that is fetched from a URL may be, before and after it is unpacked."),
	textSetting("fetch_ca", "", "absolute path, or empty", optionalPath, func(c *Config) *string { return &c.FetchCA },
		"A file of certificates (PEM) to trust when fetching, instead of the system's."),
	countSetting("fetch_stall", 30, 86400, func(c *Config) *int { return &c.FetchStall },
		"Seconds without data after which a server that is fetched from counts as stalled; 0 is never."),
}

func findSetting(key string) (setting, bool) {
	for _, s := range settings {
		if s.key == key {
			return s, true
		}
	}
	return setting{}, false
}
