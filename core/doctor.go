// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"os"
	"strings"

	"firmwared/core/config"
)

// Health is how one thing that was looked at is.
type Health string

// Warnings cost some of what the program can do, problems all of it or of one of
// its parts that somebody has set up.
const (
	Healthy Health = "ok"
	Warning Health = "warning"
	Problem Health = "problem"
)

// Finding is one line of `doctor`; the names in JSON are promised.
type Finding struct {
	Status  Health `json:"status"`
	What    string `json:"what"`
	Details string `json:"details"`
	Advice  string `json:"advice"` // what to do; "" if it is ok
}

// doctor collects findings.
type doctor struct {
	*Manager
	found []Finding
}

func (d *doctor) ok(what, details string) {
	d.found = append(d.found, Finding{Healthy, what, details, ""})
}

func (d *doctor) bad(status Health, what, details, advice string) {
	d.found = append(d.found, Finding{status, what, details, advice})
}

// judge is ok or bad, by err.
func (d *doctor) judge(status Health, what string, err error, fine, advice string) {
	if err != nil {
		d.bad(status, what, strings.ReplaceAll(err.Error(), "\n", "; "), advice)
		return
	}
	d.ok(what, fine)
}

// Diagnose looks at all that the program needs of this machine, by trying it where
// that can be done, and leaves nothing behind. It works without anything having
// been set up, and takes the place of Open: broken is why there is no cfg, if so,
// and root the --root that was given. It fails unless the caller is root.
func Diagnose(ctx context.Context, cfg *config.Config, broken error, root string) ([]Finding, error) {
	if os.Geteuid() != 0 {
		return nil, errNotRoot
	}
	if broken != nil {
		var err error
		if cfg, err = config.Load(os.DevNull, true, root, onlyRoot); err != nil {
			return nil, errors.Join(broken, err)
		}
	}
	d := &doctor{}
	d.Manager = manage(cfg, false, func(string) {})
	d.judge(Problem, "configuration", broken, describeFile(cfg), "mend it; until then no other command works")
	joined := d.joinNamespace() // does not return if there is one to be joined
	d.judge(Problem, "mount namespace", joined, "this one", "run firmwared where its other commands run, or give another --root")
	for _, look := range []func(context.Context){
		d.program, d.kernel, d.confinement, d.cgroups, d.hookFiles, d.stateDir, d.runDir, d.leaks,
	} {
		if ctx.Err() != nil {
			return d.found, context.Cause(ctx)
		}
		look(ctx)
	}
	return d.found, nil
}

// onlyRoot is an environment in which nothing but the root is set.
func onlyRoot(name string) string {
	if name != "FIRMWARED_ROOT" {
		return ""
	}
	return os.Getenv(name)
}

func describeFile(cfg *config.Config) string {
	if cfg.File == "" {
		return "no file, built-in settings"
	}
	return quote(cfg.File)
}

// Ill tells whether there is a problem among findings.
func Ill(found []Finding) bool {
	for _, f := range found {
		if f.Status == Problem {
			return true
		}
	}
	return false
}
