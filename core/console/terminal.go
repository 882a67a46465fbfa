// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"

	tty "github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// ErrNotTerminal is what OpenTerminal returns for a file that is no terminal.
var ErrNotTerminal = errors.New("not a terminal")

// Terminal is the terminal a person sits at.
type Terminal struct {
	tty     tty.Console
	resized chan os.Signal
	restore sync.Once
}

// IsTerminal says whether file is a terminal.
func IsTerminal(file *os.File) bool {
	_, err := tty.ConsoleFromFile(file)
	return err == nil
}

// OpenTerminal keeps the terminal's present settings for Restore. It takes no
// ownership of file.
func OpenTerminal(file *os.File) (*Terminal, error) {
	t, err := tty.ConsoleFromFile(file)
	if errors.Is(err, tty.ErrNotAConsole) {
		return nil, ErrNotTerminal
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open terminal %s: %w", file.Name(), err)
	}
	return &Terminal{tty: t}, nil
}

// Raw passes every key through, the ones that make signals included, until
// Restore.
func (t *Terminal) Raw() error {
	if err := t.tty.SetRaw(); err != nil {
		return fmt.Errorf("cannot set terminal to raw mode: %w", err)
	}
	return nil
}

// Restore puts the terminal back as OpenTerminal found it; only the first call
// does anything.
func (t *Terminal) Restore() (err error) {
	t.restore.Do(func() {
		if t.resized != nil {
			signal.Stop(t.resized)
		}
		if err = t.tty.Reset(); err != nil {
			err = fmt.Errorf("cannot restore terminal: %w", err)
		}
	})
	return err
}

// Size is 0, 0 when the terminal does not know.
func (t *Terminal) Size() (rows, cols uint16) {
	size, err := t.tty.Size()
	if err != nil {
		return 0, 0
	}
	return size.Height, size.Width
}

// Resized gets a value whenever the size may have changed, until Restore.
func (t *Terminal) Resized() <-chan os.Signal {
	if t.resized == nil {
		t.resized = make(chan os.Signal, 1)
		signal.Notify(t.resized, unix.SIGWINCH)
	}
	return t.resized
}
