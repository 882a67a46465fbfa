// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// Arg, as the first argument, makes this program the kit's child: see Main.
const Arg = "__hook-test"

// message is a line of the child's stdout.
type message struct {
	Verdict *Verdict `json:"verdict,omitempty"`
	Usage   string   `json:"usage,omitempty"`
	Error   string   `json:"error,omitempty"`
	Done    bool     `json:"done,omitempty"`
}

// endPatience is how long the child may take to end after it was told to: it unmounts what it has mounted, and
// each call for that has its own time limit.
const endPatience = 60 * time.Second

// Test drives the clauses and reports each verdict as it is found, in the order of the table. The error is about the
// test, not about the hook: nil however many clauses failed. When ctx ends, the child cleans up and ends.
func Test(ctx context.Context, spec Spec, report func(Verdict)) error {
	if err := spec.Check(); err != nil {
		return err
	}
	var random [6]byte
	_, _ = rand.Read(random[:])
	spec.Token = "hook-test." + hex.EncodeToString(random[:])
	err := runChild(ctx, spec, report)
	if ctx.Err() != nil {
		err = fmt.Errorf("interrupted: %w", context.Cause(ctx))
	}
	return errors.Join(err, sweep(spec.Token))
}

// runChild starts the child and reads what it finds. The child takes the end of its stdin as the order to stop, which
// it also gets if this process is killed.
func runChild(ctx context.Context, spec Spec, report func(Verdict)) error {
	cmd := exec.Command("/proc/self/exe", Arg)
	cmd.Args[0] = os.Args[0]
	cmd.Stderr = os.Stderr
	// Ctrl-C is for this process alone: the child shall clean up in peace.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Setpgid: true}
	orders, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	results, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("cannot test in a mount namespace of its own: %w", err)
	}
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-ctx.Done():
			_ = orders.Close()
		case <-ended:
			return
		}
		select {
		case <-time.After(endPatience):
			_ = cmd.Process.Kill()
		case <-ended:
		}
	}()
	if err := json.NewEncoder(orders).Encode(spec); err != nil {
		_ = cmd.Process.Kill()
	}
	said := read(results, report)
	if err := cmd.Wait(); err != nil && said == nil {
		said = fmt.Errorf("the test ended early: %w", err)
	}
	return said
}

// read takes the child's lines until it closes them.
func read(results io.Reader, report func(Verdict)) error {
	lines := bufio.NewScanner(results)
	lines.Buffer(nil, 1<<20)
	done := false
	for lines.Scan() {
		var m message
		if err := json.Unmarshal(lines.Bytes(), &m); err != nil {
			return fmt.Errorf("cannot understand the test's child: %w", err)
		}
		switch {
		case m.Verdict != nil:
			report(*m.Verdict)
		case m.Usage != "":
			return &UsageError{m.Usage}
		case m.Error != "":
			return errors.New(m.Error)
		}
		done = done || m.Done
	}
	if !done && lines.Err() == nil {
		return errors.New("the test ended before its last clause")
	}
	return lines.Err()
}

// Main is the child: it reads a Spec from stdin, drives its clauses, and does not return.
func Main() {
	out := json.NewEncoder(os.Stdout)
	say := func(m message) { _ = out.Encode(m) }
	orders := bufio.NewReader(os.Stdin)
	var spec Spec
	line, err := orders.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, &spec)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s is for firmwared itself\n", Arg)
		os.Exit(2)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, orders)
		cancel(errors.New("the test was told to stop"))
	}()
	err = drive(ctx, spec, func(v Verdict) { say(message{Verdict: &v}) })
	var usage *UsageError
	switch {
	case errors.As(err, &usage):
		say(message{Usage: usage.Text})
	case err != nil:
		say(message{Error: err.Error()})
	default:
		say(message{Done: true})
	}
	os.Exit(0)
}
