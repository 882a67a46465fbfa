// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress returns a function that shows how many bytes something did, and one
// that takes the bar away. Without a terminal neither does anything.
func progress(what string) (show func(done, total int64), end func()) {
	return bar(what, progressbar.OptionShowBytes(true))
}

// steps is progress in units of no name.
func steps(what string) (show func(done, total int64), end func()) {
	return bar(what, progressbar.OptionShowCount())
}

// shown is the bar on the terminal, if there is one: lines for the user take its
// place, and it comes again below them.
var shown struct {
	sync.Mutex
	bar *progressbar.ProgressBar
}

func bar(what string, unit progressbar.Option) (show func(done, total int64), end func()) {
	if !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil, func() {}
	}
	show = func(done, total int64) {
		shown.Lock()
		defer shown.Unlock()
		if shown.bar == nil {
			shown.bar = progressbar.NewOptions64(total, progressbar.OptionSetDescription(what), progressbar.OptionSetWriter(os.Stderr),
				unit, progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
		}
		_ = shown.bar.Set64(done)
	}
	return show, func() {
		shown.Lock()
		defer shown.Unlock()
		if shown.bar != nil {
			_ = shown.bar.Clear()
			shown.bar = nil
		}
	}
}

// notice writes a line for the user that is no result. Several may at once.
func notice(line string) {
	shown.Lock()
	defer shown.Unlock()
	if shown.bar != nil {
		_ = shown.bar.Clear()
	}
	fmt.Fprintln(os.Stderr, "firmwared: "+line)
}
