// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"errors"
	"os"

	"firmwared/core/console"
)

// keyboard is who gets what a person types. typed and detach are called by one
// goroutine, sized by another.
type keyboard struct {
	typed  func(keys []byte) error
	sized  func(rows, cols uint16)
	detach func()
}

// connectKeyboard reads in until its end, the detach keys or an error of typed.
// A terminal is in raw mode meanwhile. release returns when nothing reads in any
// more and the terminal is as it was; a typed that hangs must be freed before.
func connectKeyboard(in *os.File, detachKeys []byte, k keyboard) (release func(), err error) {
	input, err := newInput(in)
	if err != nil {
		return nil, err
	}
	terminal, err := console.OpenTerminal(in)
	if err == nil {
		err = terminal.Raw()
	} else if errors.Is(err, console.ErrNotTerminal) {
		terminal, err = nil, nil
	}
	if err != nil {
		input.stop()
		input.close()
		return nil, err
	}
	if terminal != nil {
		resized := terminal.Resized()
		k.sized(terminal.Size()) // before the first key: what that starts may ask for it
		go k.followSize(terminal, resized, input.stopped)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		k.read(input, console.NewDetacher(detachKeys))
	}()
	return func() {
		input.stop()
		<-done
		input.close()
		if terminal != nil {
			_ = terminal.Restore()
		}
	}, nil
}

func (k keyboard) followSize(terminal *console.Terminal, resized <-chan os.Signal, stopped <-chan struct{}) {
	for {
		select {
		case <-resized:
			k.sized(terminal.Size())
		case <-stopped:
			return
		}
	}
}

func (k keyboard) read(input *input, detacher *console.Detacher) {
	buf := make([]byte, 4096)
	for {
		n, err := input.read(buf)
		if err != nil {
			return
		}
		keys, detached := detacher.Feed(buf[:n])
		if len(keys) > 0 && k.typed(keys) != nil {
			return
		}
		if detached {
			k.detach()
			return
		}
	}
}
