// SPDX-License-Identifier: Apache-2.0

// Command gen prints what is made from the table of settings: the example
// configuration or its manual page in Markdown. It is run by make, writes only
// to standard output and is not installed.
package main

import (
	"fmt"
	"os"

	"firmwared/core/config"
)

func main() {
	switch {
	case len(os.Args) == 2 && os.Args[1] == "example":
		fmt.Print(config.Example())
	case len(os.Args) == 3 && os.Args[1] == "manual":
		fmt.Print(config.Manual(os.Args[2]))
	default:
		fmt.Fprintln(os.Stderr, "usage: gen example | gen manual VERSION")
		os.Exit(2)
	}
}
