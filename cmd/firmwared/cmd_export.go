// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"firmwared/core"
	"firmwared/core/registry"
)

func exportCommand() *cli.Command {
	return &cli.Command{
		Name:      "export",
		Usage:     "write an instance's tree, or what it changed, as a tar file",
		UsageText: "firmwared export I FILE|- [--diff]",
		Description: `The same tree makes the same bytes. Owners are numbers; extended attributes, hard
links and holes are kept. Sockets are left out. FILE appears when it is complete.
With --diff it is a layer of an OCI image: .wh.NAME means that NAME was deleted.
SOURCE_DATE_EPOCH in the environment: later times become that one. An instance that
runs goes on; clone it first if all must be of one moment.

   firmwared export box box.tar
   firmwared export box - | ssh target tar -C /mnt -x
   firmwared export box changes.tar --diff`,
		Flags:        []cli.Flag{&cli.BoolFlag{Name: "diff", Usage: "only what the instance changed"}},
		Action:       export,
		BashComplete: completeInstances,
	}
}

func export(c *cli.Context) error {
	args, err := exactly(c, 2)
	if err != nil {
		return err
	}
	if args[1] == "-" && term.IsTerminal(int(os.Stdout.Fd())) {
		return usagef("a tar stream does not go to a terminal")
	}
	left := false
	o := core.ExportOptions{Changes: c.Bool("diff"), Leave: func(name, why string) {
		left = true
		notice(fmt.Sprintf("not exported: %s: %s", printable(name), why))
	}}
	if o.Newest, err = sourceDateEpoch(); err != nil {
		return err
	}
	m, err := enter(c)
	if err != nil {
		return err
	}
	defer m.Close()
	inst, err := m.Instance(args[0])
	if err == nil {
		err = exportTo(c, m, inst, args[1], o)
	}
	if err == nil && left {
		return status(exitFailed)
	}
	return err
}

func exportTo(c *cli.Context, m *core.Manager, inst *registry.Instance, file string, o core.ExportOptions) error {
	if file != "-" {
		return m.ExportFile(c.Context, inst, file, o)
	}
	out := bufio.NewWriterSize(os.Stdout, 1<<20)
	if err := m.Export(c.Context, inst, out, o); err != nil {
		return err
	}
	return out.Flush()
}

// sourceDateEpoch is the time of reproducible-builds.org/specs, zero without one.
func sourceDateEpoch() (time.Time, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Time{}, nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return time.Time{}, usagef("SOURCE_DATE_EPOCH is %q, not a number of seconds", text)
	}
	return time.Unix(seconds, 0), nil
}
