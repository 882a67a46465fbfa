// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"firmwared/core"
)

// Completion prints what may stand next, one a line: live names, or the
// command's options when one has been begun. It never complains.

func completeInstances(c *cli.Context) {
	complete(c, func(m *core.Manager) {
		all, _ := m.Instances()
		for _, inst := range all {
			fmt.Println(inst.Name)
		}
	})
}

func completeFirmwares(c *cli.Context) {
	complete(c, func(m *core.Manager) {
		infos, _ := m.Firmwares()
		for _, info := range infos {
			fmt.Println(info.Name)
		}
	})
}

func completeHooks(c *cli.Context) {
	complete(c, func(m *core.Manager) {
		for _, name := range m.HookNames() {
			fmt.Println(name)
		}
	})
}

func complete(c *cli.Context, names func(*core.Manager)) {
	// The library calls this with the word under way second to last.
	if n := len(os.Args); n > 2 && strings.HasPrefix(os.Args[n-2], "-") {
		cli.DefaultCompleteWithFlags(c.Command)(c)
		return
	}
	cfg, err := loadConfig(c)
	if err != nil {
		return
	}
	if m, err := core.Open(cfg, false, func(string) {}); err == nil {
		names(m)
	}
}
