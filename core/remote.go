// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"firmwared/core/hook"
	"firmwared/core/word"
)

// remote is what a URL names. Only hooks know what a scheme means.
type remote struct {
	raw    string // as the hook gets it
	scheme string
	shown  string // for messages and records: without a password
}

var schemeForm = word.Form{First: "A-Za-z", Rest: "A-Za-z0-9+.-"}

// IsURL tells a URL from a path; one that begins like that can be written with ./
// in front.
func IsURL(text string) bool {
	scheme, _, found := strings.Cut(text, "://")
	return found && schemeForm.MatchString(scheme)
}

func parseURL(text string) (remote, error) {
	if !IsURL(text) {
		return remote{}, fmt.Errorf("%q is no URL", text)
	}
	scheme, rest, _ := strings.Cut(text, "://")
	scheme = strings.ToLower(scheme)
	u := remote{raw: scheme + "://" + rest, scheme: scheme}
	parsed, err := url.Parse(u.raw)
	var reason *url.Error
	if errors.As(err, &reason) {
		err = reason.Err // the whole says it with the password
	}
	if err == nil && parsed.Host == "" && parsed.Path == "" && parsed.User == nil {
		err = errors.New("it names neither a host nor a file")
	}
	if err == nil && (hook.Kind{Form: hook.FormURL}).Check(u.raw) != "" {
		err = errors.New("it may have letters, digits and the usual marks only: write other characters as %XX")
	}
	if err != nil {
		return remote{}, fmt.Errorf("cannot use a URL of scheme %s: %w", scheme, err)
	}
	parsed.Fragment, parsed.RawFragment = "", ""
	u.shown = parsed.Redacted()
	return u, nil
}

// fetchHook finds the hook for a URL: the first in the order of names that
// announces its scheme, and the shipped one last.
func (m *Manager) fetchHook(ctx context.Context, u remote) (hook.Hook, error) {
	var schemes []string
	h, err := m.firstHook(ctx, hook.LayerFetch, func(h hook.Hook, d hook.Description) (bool, error) {
		schemes = append(schemes, d.Schemes...)
		return slices.Contains(d.Schemes, u.scheme), nil
	})
	if err == nil && h.Name == "" {
		slices.Sort(schemes)
		err = fmt.Errorf("cannot fetch %s: no hook announces the scheme %s (there is: %s); add one to %s",
			u.shown, u.scheme, strings.Join(slices.Compact(schemes), ", "), m.hooks[0])
	}
	return h, err
}

// firstHook asks about the hooks of a layer that is a job of its own, and returns
// the first that is taken, or none. The one named like the layer comes last.
func (m *Manager) firstHook(ctx context.Context, layer string, take func(hook.Hook, hook.Description) (bool, error)) (hook.Hook, error) {
	found, problems := m.hooks.List()
	m.warn(problems...)
	slices.SortStableFunc(found, func(a, b hook.Hook) int {
		last := map[string]int{layer: 1}
		return last[a.Name] - last[b.Name]
	})
	for _, h := range found {
		d, err := m.runner.Describe(ctx, h)
		switch {
		case ctx.Err() != nil:
			return hook.Hook{}, err
		case err != nil:
			m.warn(err)
		case d.HasLayer(layer):
			if mine, err := take(h, d); err != nil || mine {
				return h, err
			}
		}
	}
	return hook.Hook{}, nil
}
