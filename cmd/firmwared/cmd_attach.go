// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"github.com/urfave/cli/v2"

	"firmwared/core/console"
	"firmwared/core/supervisor"
)

func attachCommand() *cli.Command {
	return &cli.Command{
		Name:      "attach",
		Usage:     "show an instance's console here and type on it",
		UsageText: "firmwared attach I [--detach-keys KEYS] [--no-stdin]",
		Description: `The last screenful comes first. Several may be attached at once; the window size
is that of the last who changed his. Exits as pid 1 does when that ends
meanwhile, with 0 after the detach keys.

   firmwared attach box
   firmwared attach box --detach-keys ctrl-p,ctrl-q
   firmwared attach box --no-stdin | grep error`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "detach-keys", Usage: "leave at `KEYS`, like ctrl-] or ctrl-p,ctrl-q; none for no way out (default: the setting detach_keys)"},
			&cli.BoolFlag{Name: "no-stdin", Usage: "only watch"},
		},
		Action:       attach,
		BashComplete: completeInstances,
	}
}

func attach(c *cli.Context) error {
	args, err := exactly(c, 1)
	if err != nil {
		return err
	}
	keys, names, err := detachKeys(c)
	if err != nil {
		return err
	}
	m, err := look(c)
	if err != nil {
		return ours(err)
	}
	inst, err := m.Instance(args[0])
	if err != nil {
		return ours(err)
	}
	o := supervisor.AttachOptions{Out: os.Stdout, DetachKeys: keys, Skipped: noticeSkipped}
	if !c.Bool("no-stdin") {
		o.In = os.Stdin
		o.Started = func() { noticeAttached(inst.Name, names) }
	}
	result, err := m.Attach(c.Context, inst, o)
	if err != nil {
		return ours(err)
	}
	noticeDetached(inst.Name, result)
	return asProgram(result.Exit)
}

// detachKeys are those asked for, else the configured ones, as bytes and in
// words.
func detachKeys(c *cli.Context) (keys []byte, names string, err error) {
	names = c.String("detach-keys")
	if names != "" {
		if keys, err = console.ParseKeys(names); err != nil {
			err = usagef("--detach-keys: %v", err)
		}
		return keys, names, err
	}
	cfg, err := loadConfig(c)
	if err != nil {
		return nil, "", ours(err)
	}
	keys, err = console.ParseKeys(cfg.DetachKeys)
	return keys, cfg.DetachKeys, ours(err)
}

func noticeAttached(name, keys string) {
	switch {
	case !console.IsTerminal(os.Stdin):
	case keys == "" || keys == "none":
		notice(fmt.Sprintf("attached to %s; no keys detach", name))
	default:
		notice(fmt.Sprintf("attached to %s; %s detaches", name, keys))
	}
}

func noticeDetached(name string, result supervisor.AttachResult) {
	if result.Detached {
		notice(fmt.Sprintf("detached; %s goes on (firmwared kill %s ends it)", name, name))
	}
}

func noticeSkipped(bytes uint64) {
	notice(fmt.Sprintf("this terminal was too slow: %d bytes are left out here (firmwared logs has them)", bytes))
}
