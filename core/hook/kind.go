// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"firmwared/core/word"
)

// Kind is what a variable's value must look like: one of some words, or a form. The zero Kind takes any text.
type Kind struct {
	OneOf []string
	Form  Form
}

// Form is a shape of values.
type Form string

// The forms. Paths of the program's own fit unquoted into any mount option; a firmware's path is the user's.
const (
	FormText    Form = ""
	FormPath    Form = "safe path"
	FormPaths   Form = "safe paths"
	FormAnyPath Form = "path"
	FormID      Form = "id"
	FormName    Form = "name"
	FormLabel   Form = "label"
	FormSeconds Form = "seconds"
	FormNumber  Form = "number"
	FormBytes   Form = "number of bytes"
	FormSHA256  Form = "sha256"
	FormURL     Form = "URL"

	FormInterface Form = "interface name"
	FormCIDR      Form = "IPv4 address with a length"
	FormCIDR6     Form = "IPv6 address with a length"
)

const (
	maxSafePath = 200
	maxValue    = 64 << 10 // the kernel's limit of one string is 128 KiB (MAX_ARG_STRLEN)
)

var forms = map[Form]word.Form{
	FormPath:  {First: "/", Rest: "A-Za-z0-9/._-"},
	FormID:    {First: "0-9a-f", Rest: "0-9a-f", Min: 12, Max: 12},
	FormName:  {First: "A-Za-z0-9", Rest: "A-Za-z0-9._-", Max: 63},
	FormLabel: {Prefix: "firmwared_", First: "A-Za-z0-9._-", Rest: "A-Za-z0-9._-", Max: 64},

	FormNumber: {First: "0-9", Rest: "0-9", Max: 10},
	FormBytes:  {First: "0-9", Rest: "0-9", Max: 18},
	FormSHA256: {First: "0-9a-f", Rest: "0-9a-f", Min: 64, Max: 64},
	// What follows the scheme: printable, without what would end a string in a configuration or a shell.
	FormURL: {First: "!#-&(-;=?-[]_a-z~", Rest: "!#-&(-;=?-[]_a-z~"},
}

// Check says what is wrong with a value, or "".
func (k Kind) Check(value string) string {
	switch {
	case strings.ContainsRune(value, 0):
		return "has a NUL byte"
	case len(value) > maxValue:
		return fmt.Sprintf("is longer than %d bytes", maxValue)
	case len(k.OneOf) > 0:
		if !slices.Contains(k.OneOf, value) {
			return fmt.Sprintf("is %q, not one of %s", value, strings.Join(k.OneOf, ", "))
		}
		return ""
	}
	switch k.Form {
	case FormText:
		return ""
	case FormPath:
		return checkSafePath(value)
	case FormPaths:
		for path := range strings.SplitSeq(value, ":") {
			if bad := checkSafePath(path); bad != "" {
				return bad
			}
		}
		return ""
	case FormAnyPath:
		if !strings.HasPrefix(value, "/") {
			return fmt.Sprintf("is %q, not an absolute path", value)
		}
		return ""
	case FormSeconds:
		if n, err := strconv.Atoi(value); err != nil || n < 1 {
			return fmt.Sprintf("is %q, not a number of seconds", value)
		}
		return ""
	case FormURL:
		scheme, rest, _ := strings.Cut(value, "://")
		if !schemePattern.MatchString(scheme) || !forms[FormURL].MatchString(rest) {
			return fmt.Sprintf("is %q, not a valid URL", value)
		}
		return ""
	}
	if k.Form == FormCIDR || k.Form == FormCIDR6 {
		if p, err := netip.ParsePrefix(value); err != nil || p.Addr().Is4() != (k.Form == FormCIDR) || p.Addr().Is4In6() {
			return fmt.Sprintf("is %q, not an %s, as %s", value, k.Form, sampleCIDR[k.Form])
		}
		return ""
	}
	if k.Form == FormInterface {
		return CheckInterface(value)
	}
	if !forms[k.Form].MatchString(value) {
		return fmt.Sprintf("is %q, not a valid %s", value, k.Form)
	}
	return ""
}

var sampleCIDR = map[Form]string{FormCIDR: "10.202.0.2/30", FormCIDR6: "fd00::2/126"}

// CheckInterface says what is wrong with the name of a network interface, or "" (dev_valid_name, net/core/dev.c; a "%"
// would be a pattern).
func CheckInterface(name string) string {
	bad := func(r rune) bool { return r <= ' ' || r == '/' || r == ':' || r == '%' || r >= 0x7f }
	if name == "" || len(name) > 15 || name == "." || name == ".." || strings.ContainsFunc(name, bad) {
		return fmt.Sprintf("is %q, not an interface name: at most 15 characters, no blank, '/', ':' or '%%'", name)
	}
	return ""
}

func checkSafePath(path string) string {
	switch {
	case !forms[FormPath].MatchString(path):
		return fmt.Sprintf("is %q, not an absolute path of letters, digits and /._-", path)
	case len(path) >= maxSafePath:
		return fmt.Sprintf("is %q, %d bytes long (the limit is %d)", path, len(path), maxSafePath-1)
	}
	return ""
}
