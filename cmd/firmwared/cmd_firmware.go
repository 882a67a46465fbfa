// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/registry"
)

func firmwareCommand() *cli.Command {
	return &cli.Command{
		Name:    "firmware",
		Aliases: []string{"fw"},
		Usage:   "register, list and remove firmwares",
		Subcommands: []*cli.Command{
			{
				Name:      "add",
				Usage:     "register a directory, an image file or what a URL names; prints its id",
				UsageText: "firmwared firmware add PATH|URL [--name N] [--base F] [--hook H] [--sha256 HEX] [--copy] [--option K=V]... [--copy-to FILE] [--signature FILE|URL --key FILE]",
				Description: `The firmware is used where it lies and never modified. Adding the same directory
(by its real path) or the same image (by its content) again gives the same id.

A URL (http, https, file, and what other hooks announce) is fetched into the state
directory; the image goes with the firmware, unless --copy-to keeps it as FILE for
you. --sha256 and --signature are about what is fetched; what is compressed is
unpacked after that. With --sha256, nothing is fetched that is there already. A
broken download goes on where it was when it is added again within a day.

   firmwared firmware add ./final --name fw
   firmwared firmware add rootfs.img --copy
   firmwared firmware add ./patch --base fw            ./patch on top of fw
   firmwared firmware add https://host/rootfs.img.xz --sha256 2ac3... --name fw
   firmwared firmware add https://host/fw.img --signature https://host/fw.img.minisig --key vendor.pub`,
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "name", Usage: "name it `N` (default: one is made up)"},
					&cli.StringFlag{Name: "base", Usage: "put it on top of firmware `F`"},
					&cli.StringFlag{Name: "hook", Usage: "have hook `H` mount it (default: the first that says it can)"},
					&cli.StringFlag{Name: "sha256", Usage: "refuse an image, or a download, whose checksum is not `HEX`"},
					&cli.BoolFlag{Name: "copy", Usage: "keep a copy of the image in the state directory"},
					&cli.StringSliceFlag{Name: "option", Usage: "give the hook option `K=V`; see firmwared hook show"},
					&cli.StringFlag{Name: "copy-to", Usage: "keep what a URL gives as `FILE`, which stays when the firmware is removed"},
					&cli.StringFlag{Name: "signature", Usage: "refuse a download that `FILE`, or what that URL gives, does not sign"},
					&cli.StringFlag{Name: "key", Usage: "the public key of the signature (minisign or OpenPGP) is in `FILE`"},
				},
				Action: firmwareAdd,
			},
			{
				Name:      "list",
				Aliases:   []string{"ls"},
				Usage:     "list firmwares",
				UsageText: "firmwared firmware list [--json]",
				Flags:     []cli.Flag{jsonFlag()},
				Action:    firmwareList,
			},
			{
				Name:         "show",
				Usage:        "show one firmware",
				UsageText:    "firmwared firmware show F [--json]",
				Flags:        []cli.Flag{jsonFlag()},
				Action:       firmwareShow,
				BashComplete: completeFirmwares,
			},
			{
				Name:         "unmount",
				Usage:        "unmount what no instance stands on",
				UsageText:    "firmwared firmware unmount F...",
				Action:       onFirmwares((*core.Manager).Unmount),
				BashComplete: completeFirmwares,
			},
			{
				Name:         "remove",
				Aliases:      []string{"rm"},
				Usage:        "forget a firmware that nothing stands on",
				UsageText:    "firmwared firmware remove F...",
				Description:  "Its directory or image stays where it is; a copy that --copy or commit made goes.",
				Action:       onFirmwares((*core.Manager).Remove),
				BashComplete: completeFirmwares,
			},
		},
	}
}

func firmwareAdd(c *cli.Context) error {
	args, err := exactly(c, 1)
	if err != nil {
		return err
	}
	given, err := options(c)
	if err != nil {
		return err
	}
	if (c.String("signature") == "") != (c.String("key") == "") {
		return usagef("--signature and --key go together")
	}
	m, err := enter(c)
	if err != nil {
		return err
	}
	defer m.Close()
	fetched, endFetch := progress("fetch")
	show, end := progress("sha256")
	fw, err := m.Add(c.Context, args[0], core.AddOptions{
		Name: c.String("name"), Base: c.String("base"), Hook: c.String("hook"), SHA256: c.String("sha256"),
		Options: given, Copy: c.Bool("copy"), Progress: show,
		Signature: c.String("signature"), Key: c.String("key"), CopyTo: c.String("copy-to"), Fetched: fetched,
	})
	endFetch()
	end()
	if err == nil {
		fmt.Println(fw.ID)
	}
	return err
}

func firmwareList(c *cli.Context) error {
	if _, err := exactly(c, 0); err != nil {
		return err
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	infos, broken := m.Firmwares()
	if c.Bool("json") {
		return errors.Join(printJSON(infos), broken)
	}
	var rows [][]string
	for _, i := range infos {
		rows = append(rows, []string{i.ID, i.Name, i.State, i.Hook, i.Base, fmt.Sprint(len(i.Instances)), i.Path})
	}
	return errors.Join(table("ID NAME STATE HOOK BASE INSTANCES PATH", rows), broken)
}

func firmwareShow(c *cli.Context) error {
	args, err := exactly(c, 1)
	if err != nil {
		return err
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	fw, err := m.Firmware(args[0])
	if err != nil {
		return err
	}
	i := m.ShowFirmware(fw)
	if c.Bool("json") {
		return printJSON(i)
	}
	field("id", i.ID)
	field("name", i.Name)
	field("path", i.Path)
	field("kind", i.Kind)
	field("hook", i.Hook)
	for key, value := range i.Options {
		field("option", key+"="+value)
	}
	field("base", i.Base)
	field("sha256", i.SHA256)
	field("url", i.URL)
	field("download", i.Download)
	field("state", i.State)
	field("mounts", strings.Join(i.Mounts, " "))
	field("instances", strings.Join(i.Instances, " "))
	field("ephemeral", i.Ephemeral)
	field("copied", i.Copied)
	field("created", i.Created.Format(time.RFC3339))
	showHookError(i.HookError)
	return nil
}

// onFirmwares makes an action that does something with every firmware named.
func onFirmwares(do func(*core.Manager, context.Context, *registry.Firmware) error) cli.ActionFunc {
	return func(c *cli.Context) error {
		keys, program := words(c)
		if len(keys) == 0 || program != nil {
			return usagef("usage: %s", c.Command.UsageText)
		}
		m, err := enter(c)
		if err != nil {
			return err
		}
		defer m.Close()
		var errs []error
		for _, key := range keys {
			fw, err := m.Firmware(key)
			if err == nil {
				err = do(m, c.Context, fw)
			}
			errs = append(errs, err)
		}
		return errors.Join(errs...)
	}
}
