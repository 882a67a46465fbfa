// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"

	"firmwared/core"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name:      "diff",
		Usage:     "tell what an instance changed of its firmware",
		UsageText: "firmwared diff I [--patch | --stat | --json | -z] [--path P]... [--ignore GLOB]... [--exit-code]",
		Description: `Running or not, the instance stays as it is. A file that was opened for writing
and is as it was is not listed. A glob with a slash is matched with the whole
path, ** with any directories; one without with each name.

   firmwared diff box
   firmwared diff box --path /etc --patch
   firmwared diff box --ignore '/var/log/**' --ignore '*.pid' --exit-code`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "patch", Aliases: []string{"p"}, Usage: "print the lines of text files that differ"},
			&cli.BoolFlag{Name: "stat", Usage: "print how many bytes each file has more or less, and the sums"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"z"}, Usage: "print change and path unescaped, each with a zero byte behind it"},
			jsonFlag(),
			&cli.StringSliceFlag{Name: "path", Usage: "only `P` and what is below it"},
			&cli.StringSliceFlag{Name: "ignore", Usage: "leave out what matches `GLOB`, and what is below it"},
			&cli.BoolFlag{Name: "exit-code", Usage: "exit 1 if there is a difference, 125 if it cannot be told"},
		},
		Action:       diff,
		BashComplete: completeInstances,
	}
}

// printer prints differences in one of the formats.
type printer interface {
	one(core.Difference) error
	end() error
}

func diff(c *cli.Context) error {
	args, err := exactly(c, 1)
	if err != nil {
		return err
	}
	out := bufio.NewWriter(os.Stdout)
	p, err := diffPrinter(c, out)
	if err != nil {
		return err
	}
	some, err := printDiff(c, args[0], p)
	if flushErr := out.Flush(); err == nil {
		err = flushErr
	}
	if !c.Bool("exit-code") {
		return err
	}
	if err == nil && some {
		return status(exitFailed)
	}
	return ours(err)
}

func printDiff(c *cli.Context, key string, p printer) (some bool, err error) {
	m, err := enter(c)
	if err != nil {
		return false, err
	}
	defer m.Close()
	inst, err := m.Instance(key)
	if err != nil {
		return false, err
	}
	o := core.DiffOptions{Paths: c.StringSlice("path"), Ignore: c.StringSlice("ignore")}
	err = m.Diff(c.Context, inst, o, func(d core.Difference) error {
		some = true
		return p.one(d)
	})
	if err != nil {
		return some, err
	}
	return some, p.end()
}

func diffPrinter(c *cli.Context, w *bufio.Writer) (printer, error) {
	var chosen []printer
	for _, format := range []struct {
		flag string
		printer
	}{{"patch", patchPrinter(w)}, {"stat", &statPrinter{w: w}}, {"json", &jsonPrinter{w: w}}, {"null", nullPrinter{w}}} {
		if c.Bool(format.flag) {
			chosen = append(chosen, format.printer)
		}
	}
	switch len(chosen) {
	case 0:
		return linePrinter{w}, nil
	case 1:
		return chosen[0], nil
	}
	return nil, usagef("--patch, --stat, --json and -z exclude each other")
}

type linePrinter struct{ w *bufio.Writer }

func (p linePrinter) one(d core.Difference) error {
	kinds := ""
	if len(d.Kinds) > 0 {
		kinds = " (" + strings.Join(d.Kinds, ", ") + ")"
	}
	_, err := fmt.Fprintf(p.w, "%-8s %s%s\n", d.Change, printable(d.RawPath()), kinds)
	return err
}

func (linePrinter) end() error { return nil }

type nullPrinter struct{ w *bufio.Writer }

func (p nullPrinter) one(d core.Difference) error {
	_, err := fmt.Fprintf(p.w, "%s\x00%s\x00", d.Change, d.RawPath())
	return err
}

func (nullPrinter) end() error { return nil }

// jsonPrinter prints an array while it comes: it may be long.
type jsonPrinter struct {
	w    *bufio.Writer
	some bool
}

func (p *jsonPrinter) one(d core.Difference) error {
	separator := ",\n"
	if !p.some {
		separator = "[\n"
	}
	p.some = true
	data, err := json.Marshal(d)
	if err == nil {
		_, err = fmt.Fprintf(p.w, "%s  %s", separator, data)
	}
	return err
}

func (p *jsonPrinter) end() error {
	text := "\n]\n"
	if !p.some {
		text = "[]\n"
	}
	_, err := p.w.WriteString(text)
	return err
}

type statPrinter struct {
	w     *bufio.Writer
	count map[string]int
	bytes int64
}

func (p *statPrinter) one(d core.Difference) error {
	if p.count == nil {
		p.count = map[string]int{}
	}
	p.count[d.Change]++
	var delta int64
	if d.Size != nil {
		delta += *d.Size
	}
	if d.SizeBefore != nil {
		delta -= *d.SizeBefore
	}
	p.bytes += delta
	_, err := fmt.Fprintf(p.w, "%-8s %+12d %s\n", d.Change, delta, printable(d.RawPath()))
	return err
}

func (p *statPrinter) end() error {
	_, err := fmt.Fprintf(p.w, "%d added, %d changed, %d deleted, %+d bytes\n", p.count["added"], p.count["changed"], p.count["deleted"], p.bytes)
	return err
}

// patchPrinter escapes what an instance may have written for a terminal to obey.
func patchPrinter(w *bufio.Writer) printer {
	if term.IsTerminal(int(os.Stdout.Fd())) {
		return patches{escaping{w}}
	}
	return patches{w}
}

type patches struct{ w io.Writer }

func (p patches) one(d core.Difference) error { return d.Patch(p.w) }
func (patches) end() error                    { return nil }

// escaping shows what a terminal would obey as \xNN; lines and tabs stay.
type escaping struct{ w *bufio.Writer }

func (e escaping) Write(text []byte) (int, error) {
	for rest := text; len(rest) > 0; {
		r, size := utf8.DecodeRune(rest)
		if r == '\n' || r == '\t' || strconv.IsPrint(r) && !(r == utf8.RuneError && size == 1) {
			_, _ = e.w.Write(rest[:size])
		} else {
			for _, c := range rest[:size] {
				fmt.Fprintf(e.w, "\\x%02x", c)
			}
		}
		rest = rest[size:]
	}
	return len(text), nil
}
