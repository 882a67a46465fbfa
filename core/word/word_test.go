// SPDX-License-Identifier: Apache-2.0

package word

import (
	"regexp"
	"strings"
	"testing"
)

var forms = []struct {
	form Form
	like string
}{
	{Form{First: "a-z0-9", Rest: "a-z0-9_-"}, `^[a-z0-9][a-z0-9_-]*$`},
	{Form{First: "A-Za-z0-9", Rest: "A-Za-z0-9._-", Max: 63}, `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`},
	{Form{First: "0-9a-f", Rest: "0-9a-f", Min: 12, Max: 12}, `^[0-9a-f]{12}$`},
	{Form{First: "/", Rest: "A-Za-z0-9/._-"}, `^/[A-Za-z0-9/._-]*$`},
	{Form{Prefix: "firmwared_", First: "A-Za-z0-9._-", Rest: "A-Za-z0-9._-", Max: 64}, `^firmwared_[A-Za-z0-9._-]{1,64}$`},
}

func check(t *testing.T, s string) {
	t.Helper()
	for _, f := range forms {
		if have, want := f.form.MatchString(s), regexp.MustCompile(f.like).MatchString(s); have != want {
			t.Errorf("%q against %s: %v, the expression says %v", s, f.like, have, want)
		}
	}
}

func TestFormsAreLikeExpressions(t *testing.T) {
	for c := range 256 {
		for _, around := range []string{"", "a", "/", "0123456789a", "firmwared_", "firmwared_x"} {
			check(t, around+string([]byte{byte(c)}))
			check(t, string([]byte{byte(c)})+around)
		}
	}
	for n := range 80 {
		for _, prefix := range []string{"", "firmwared_", "/"} {
			check(t, prefix+strings.Repeat("a", n))
		}
	}
	check(t, "firmwared_")
	check(t, "name\n")
}

func FuzzForms(f *testing.F) {
	f.Add("0123456789ab")
	f.Add("firmwared_a-b")
	f.Fuzz(func(t *testing.T, s string) { check(t, s) })
}
