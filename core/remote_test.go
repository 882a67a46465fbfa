// SPDX-License-Identifier: Apache-2.0

package core

import (
	"strings"
	"testing"

	"firmwared/core/hook"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]remote{
		"https://h/f.img":               {"https://h/f.img", "https", "https://h/f.img"},
		"HTTPS://H:1/F?q=a&b=%20":       {"https://H:1/F?q=a&b=%20", "https", "https://H:1/F?q=a&b=%20"},
		"http://user:s3cret@h/f#s3cret": {"http://user:s3cret@h/f#s3cret", "http", "http://user:xxxxx@h/f"},
		"file:///a/b":                   {"file:///a/b", "file", "file:///a/b"},
		"x-y.z+1://[::1]/a":             {"x-y.z+1://[::1]/a", "x-y.z+1", "x-y.z+1://[::1]/a"},
	} {
		if got, err := parseURL(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"/a/b", "./https://h/f", "https:/h/f", "1://h", "://h", "https://h/a b", "https://s3cret:s3cret@h:port/", "https://h/%4",
		"https://h/\"", "https://h/\n", "https://h/ä", "https://s3cret\\@h/", "https://"} {
		if got, err := parseURL(text); err == nil || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
}

// FuzzParseURL: what is taken can be told to a hook, and is shown on one line without its password.
func FuzzParseURL(f *testing.F) {
	for _, text := range []string{"https://user:s3cret@host:1/a%20b?c#d", "FILE:///a", "a://b@c:d@e", "x://[::1%25a]/", "h://\x7f", "h://?"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		u, err := parseURL(text)
		if err != nil {
			if strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%q: %q", text, err)
			}
			return
		}
		if bad := (hook.Kind{Form: hook.FormURL}).Check(u.raw); bad != "" || !IsURL(text) || !strings.HasPrefix(u.raw, u.scheme+"://") {
			t.Errorf("%q: %+v, %s", text, u, bad)
		}
		if again, err := parseURL(u.shown); err != nil || again.shown != u.shown {
			t.Errorf("%q is shown as %q, which is %+v, %v", text, u.shown, again, err)
		}
	})
}
