// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"firmwared/core"
)

func cpCommand() *cli.Command {
	return &cli.Command{
		Name:      "cp",
		Usage:     "copy files and directories into or out of an instance",
		UsageText: "firmwared cp I:PATH PATH | cp PATH I:PATH | cp I:PATH - | cp - I:DIR",
		Description: `Owners, modes, times, extended attributes and links stay as they are; devices and
sockets are left out. To a directory that is there the source goes into it;
SOURCE/. is a directory's content. - is a tar stream. Paths of an instance are
resolved in its own root. A path with a colon is written ./a:b.

   firmwared cp box:/etc/config .
   firmwared cp ./app box:/usr/bin/
   firmwared cp box:/var/log - | tar t
   tar c . | firmwared cp - box:/data`,
		Action:       cp,
		BashComplete: completeInstances,
	}
}

// place is one side of a copy: an instance and a path in it, or a path here.
type place struct{ instance, path string }

// parsePlace: what has a slash before its first colon, or no colon, is a path
// of this machine.
func parsePlace(word string) place {
	name, path, found := strings.Cut(word, ":")
	if !found || name == "" || strings.ContainsAny(name, "/") || name == "." {
		return place{"", word}
	}
	return place{name, path}
}

// here makes a path of this machine absolute without losing the / or /. at its
// end, which mean something.
func (p place) here() (string, error) {
	if filepath.IsAbs(p.path) {
		return p.path, nil
	}
	cwd, err := os.Getwd()
	return cwd + "/" + p.path, err
}

func cp(c *cli.Context) error {
	args, err := exactly(c, 2)
	if err != nil {
		return err
	}
	from, to := parsePlace(args[0]), parsePlace(args[1])
	if (from.instance == "") == (to.instance == "") {
		return usagef("one of the two must be a place in an instance, like box:/etc, the other one of this machine")
	}
	if from.path == "" || to.path == "" {
		return usagef("a path is empty; the root of an instance is box:/")
	}
	m, err := enter(c)
	if err != nil {
		return err
	}
	defer m.Close()
	inst, err := m.Instance(from.instance + to.instance)
	if err != nil {
		return err
	}
	left := false
	o := core.CopyOptions{Leave: func(name, why string) {
		left = true
		notice(fmt.Sprintf("not copied: %s: %s", printable(name), why))
	}}
	switch {
	case from.instance != "" && to.path == "-":
		if term.IsTerminal(int(os.Stdout.Fd())) {
			return usagef("a tar stream does not go to a terminal")
		}
		err = m.CopyOut(c.Context, inst, from.path, "", os.Stdout, o)
	case from.instance != "":
		var path string
		if path, err = to.here(); err == nil {
			err = m.CopyOut(c.Context, inst, from.path, path, nil, o)
		}
	case from.path == "-":
		err = m.CopyIn(c.Context, inst, "", os.Stdin, to.path, o)
	default:
		var path string
		if path, err = from.here(); err == nil {
			err = m.CopyIn(c.Context, inst, path, nil, to.path, o)
		}
	}
	if err != nil {
		return errors.New(printable(err.Error()))
	}
	if left {
		return status(exitFailed)
	}
	return nil
}
