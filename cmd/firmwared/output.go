// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
)

// stdout carries results only; everything else goes to stderr.

func printJSON(v any) error {
	enc := json.NewEncoder(os.Stdout)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints rows under a heading, in columns.
func table(heading string, rows [][]string) error {
	out := bufio.NewWriter(os.Stdout) // tabwriter writes each cell by itself
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, strings.ReplaceAll(heading, " ", "\t"))
	for _, row := range rows {
		for i, cell := range row {
			if row[i] = printable(cell); cell == "" {
				row[i] = "-"
			}
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return errors.Join(w.Flush(), out.Flush())
}

// field prints one "key: value" line of a show.
func field(key string, value any) {
	text := printable(fmt.Sprint(value))
	if text == "" {
		text = "-"
	}
	fmt.Printf("%-13s %s\n", key+":", text)
}

// printable shows a string on one line of a terminal: anything that could move
// the cursor is escaped.
func printable(s string) string {
	for _, r := range s {
		if !strconv.IsPrint(r) {
			return strconv.Quote(s)
		}
	}
	return s
}

func pointer[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}
