// SPDX-License-Identifier: Apache-2.0

package config

import (
	"fmt"
	"strings"
)

// Example gives the text of firmwared.toml with every key, commented out, at
// its default. Prose begins with "# ", a setting with "#" and its key.
func Example() string {
	var b strings.Builder
	b.WriteString("# Settings of firmwared; see firmwared.toml(5). Each line that is commented out\n" +
		"# shows the default. A variable of the environment wins over this file.\n")
	for _, s := range settings {
		c := &Config{}
		if err := s.set(c, s.def()); err != nil {
			panic(err) // a default of the table that its own check refuses
		}
		fmt.Fprintf(&b, "\n# %s\n# Takes: %s. Environment: %s\n#%s = %s\n", s.doc, s.form, s.env(), s.key, s.show(c))
	}
	return b.String()
}

// Manual gives firmwared.toml(5) in Markdown for go-md2man.
func Manual(version string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "firmwared.toml 5 \"\" \"firmwared %s\" \"File formats\"\n", version)
	b.WriteString(`==================================================

# NAME

firmwared.toml - settings of firmwared

# SYNOPSIS

` + "`" + DefaultFile + "`" + `

# DESCRIPTION

A TOML file. Every key is optional, and so is the file, unless **--config** or
**FIRMWARED_CONFIG** names it. A key that does not exist and a value that makes no sense
are errors, told with file and line.

Of several values for one key, the environment's wins over the file's, and the file's over
the built-in one; **--root** (or **FIRMWARED_ROOT**) wins over all for *state_dir* and
*run_dir*. **firmwared config** shows each value and where it comes from.

In the environment a list of paths is written with colons between them, a list of words
with spaces, a table as *NAME=VALUE* pairs with commas; a list may be written as a TOML array too.
A variable that is empty counts as unset.

# KEYS

`)
	for _, s := range settings {
		c := &Config{}
		if err := s.set(c, s.def()); err != nil {
			panic(err)
		}
		fmt.Fprintf(&b, "**%s** (%s)\n: %s Default: %s. Environment: **%s**.\n\n",
			manEscape(s.key), manEscape(s.form), manEscape(s.doc), "`"+s.show(c)+"`", manEscape(s.env()))
	}
	b.WriteString("# SEE ALSO\n\n**firmwared**(1), **firmwared-hook**(7)\n")
	return b.String()
}

// manEscape keeps Markdown from taking underscores for emphasis.
func manEscape(s string) string { return strings.ReplaceAll(s, "_", `\_`) }
