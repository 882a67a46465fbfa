// SPDX-License-Identifier: Apache-2.0

package console

import (
	"errors"
	"os"
	"testing"

	tty "github.com/containerd/console"
	"golang.org/x/sys/unix"
)

// openPty returns both ends of a pty of the host.
func openPty(t *testing.T) (master tty.Console, slave *os.File) {
	t.Helper()
	master, name, err := tty.NewPty()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	slave, err = os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

func TestTerminal(t *testing.T) {
	master, slave := openPty(t)
	if err := master.Resize(tty.WinSize{Height: 41, Width: 77}); err != nil {
		t.Fatal(err)
	}
	before := flags(t, slave)
	terminal, err := OpenTerminal(slave)
	if err != nil {
		t.Fatal(err)
	}
	if rows, cols := terminal.Size(); rows != 41 || cols != 77 {
		t.Errorf("%d x %d", rows, cols)
	}
	terminal.Resized()
	if err := terminal.Raw(); err != nil {
		t.Fatal(err)
	}
	if raw := flags(t, slave); raw.Lflag&(unix.ICANON|unix.ECHO|unix.ISIG) != 0 {
		t.Error("not raw")
	}
	for range 2 {
		if err := terminal.Restore(); err != nil {
			t.Error(err)
		}
	}
	if after := flags(t, slave); *after != *before {
		t.Errorf("%+v became %+v", before, after)
	}
	if !IsTerminal(slave) {
		t.Error("a pty is a terminal")
	}
}

func flags(t *testing.T, file *os.File) *unix.Termios {
	t.Helper()
	termios, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return termios
}

func TestNotATerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if _, err := OpenTerminal(null); !errors.Is(err, ErrNotTerminal) || IsTerminal(null) {
		t.Errorf("%v", err)
	}
}
