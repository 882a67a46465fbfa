// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"firmwared/core"
	"firmwared/core/event"
)

func eventsCommand() *cli.Command {
	return &cli.Command{
		Name:      "events",
		Usage:     "print what happened to firmwares and instances",
		UsageText: "firmwared events [I...] [-f] [--since T] [--after SEQ] [--json]",
		Description: `Every event has a number, SEQ, that is one higher than the one before: who goes on
--after the last one seen misses none. The latest 4 to 8 MiB of them are kept. --json prints a
stream, one JSON object a line, with seq, time, type, firmware, firmware_id, instance,
instance_id and the fields of the type:

` + eventTypes() + `
   firmwared events -f --since 0s                      only what comes from now on
   firmwared events box --since 10m
   firmwared events -f --after 4711 --json | jq --unbuffered 'select(.type == "dead")'`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on with those that come, until Ctrl-C"},
			&cli.StringFlag{Name: "since", Usage: "begin at `T`: 2026-01-31T10:00:00Z, seconds since 1970, or how long ago, as 10m"},
			&cli.Uint64Flag{Name: "after", Usage: "begin after the event with number `SEQ`"},
			&cli.BoolFlag{Name: "json", Usage: "print JSON, one object a line"},
		},
		BashComplete: completeInstances,
		Action:       events,
	}
}

// eventTypes lists the types for the help, a few a line.
func eventTypes() string {
	fields := map[event.Type]string{
		event.FirmwareAdded: "path", event.FirmwareRemoved: "path", event.AddProgress: "path, bytes, total", event.Started: "pid",
		event.Dead: "exit_code, signal, reason, oom_killed", event.HookFailed: "message; of a life-cycle hook",
	}
	var text strings.Builder
	for _, kind := range event.Types() {
		fmt.Fprintln(&text, strings.TrimRight(fmt.Sprintf("   %-17s %s", kind, fields[kind]), " "))
	}
	return text.String()
}

func events(c *cli.Context) error {
	keys, program := words(c)
	if program != nil {
		return usagef("usage: %s", c.Command.UsageText)
	}
	f := core.EventFilter{After: c.Uint64("after"), Instances: keys, Follow: c.Bool("follow")}
	if text := c.String("since"); text != "" {
		var err error
		if f.Since, err = core.ParseSince(text, time.Now()); err != nil {
			return usagef("--since %v", err)
		}
	}
	m, err := look(c)
	if err != nil {
		return err
	}
	show := showEvent
	if c.Bool("json") {
		enc := json.NewEncoder(os.Stdout)
		enc.SetEscapeHTML(false)
		show = func(e event.Event) error { return enc.Encode(e) }
	}
	return m.Events(c.Context, f, show)
}

// showEvent prints an event in one line.
func showEvent(e event.Event) error {
	who := e.Instance
	if who == "" {
		who = e.Firmware
	}
	parts := []string{e.Time.Local().Format("2006-01-02T15:04:05.000Z07:00"), fmt.Sprint(e.Seq), string(e.Type), who}
	add := func(key, value string) {
		if value != "" {
			parts = append(parts, key+"="+value)
		}
	}
	if e.Instance != "" {
		add("firmware", e.Firmware)
	}
	if e.PID != 0 {
		add("pid", fmt.Sprint(e.PID))
	}
	add("exit_code", pointer(e.ExitCode))
	add("signal", e.Signal)
	add("reason", e.Reason)
	if e.OOMKilled {
		add("oom_killed", "true")
	}
	add("bytes", pointer(e.Bytes))
	add("total", pointer(e.Total))
	add("path", e.Path)
	add("message", e.Message)
	for i, part := range parts {
		if parts[i] = printable(part); part == "" {
			parts[i] = "-"
		}
	}
	_, err := fmt.Println(strings.Join(parts, " "))
	return err
}
