// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Error is a call that failed. Its text is one line for people.
type Error struct {
	Hook, Path    string
	Action, Layer string
	Object        string
	Exit          int            // -1: it did not end by itself with a status
	Signal        syscall.Signal // what ended it, or 0
	TimedOut      bool
	Limit, Took   time.Duration
	Flood         bool     // it printed more than a result may hold
	Stderr        []string // its last lines, escaped
	Left          []int    // processes that could not be ended
	Err           error    // why it could not be started, or the cause of the context's end
	started       bool
}

// Bounds of the stderr text in a message; more is in Stderr, and all of it in the log.
const (
	messageLines = 3
	messageBytes = 600
)

var exitWords = map[int]string{
	ExitEnvironment: "bad environment",
	ExitNotMine:     "not supported",
	ExitMissing:     "something it needs is missing",
	ExitBusy:        "busy",
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s ", title(e.Hook, e.Action), e.Action)
	switch {
	case !e.started:
		b.WriteString("could not be started")
	case e.TimedOut:
		fmt.Fprintf(&b, "timed out after %v", e.Limit)
	case e.Err != nil:
		fmt.Fprintf(&b, "was interrupted after %v", e.Took.Round(time.Millisecond))
	default:
		b.WriteString("failed")
	}
	if e.Object != "" {
		b.WriteString(" on " + e.Object)
	}
	for _, part := range []string{e.reason(), e.lastWords()} {
		if part != "" {
			b.WriteString(": " + part)
		}
	}
	if len(e.Left) > 0 {
		b.WriteString("; " + stuck(e.Left))
	}
	return b.String()
}

// reason is what the program knows about the failure.
func (e *Error) reason() string {
	switch {
	case !e.started:
		return startReason(e.Path, e.Err)
	case e.TimedOut, e.Err != nil:
		return ""
	case e.Signal != 0:
		return "killed by " + unix.SignalName(e.Signal)
	case exitWords[e.Exit] != "":
		return exitWords[e.Exit]
	case e.Exit > ExitFailed:
		return fmt.Sprintf("exit status %d", e.Exit)
	case e.Exit == ExitFailed && len(e.Stderr) == 0:
		return "exit status 1 and no message"
	case e.Exit == ExitDone && e.Flood:
		return fmt.Sprintf("it printed more than %d KiB on stdout", maxStdout>>10)
	}
	return ""
}

// startReason adds to an error of execve(2) what it means for a script.
func startReason(path string, err error) string {
	switch {
	case errors.Is(err, unix.ENOEXEC):
		return path + " does not begin with #! and an interpreter"
	case errors.Is(err, fs.ErrNotExist):
		return path + " or its interpreter does not exist"
	case errors.Is(err, fs.ErrPermission):
		return path + " or its interpreter is not executable, or on a file system mounted noexec"
	}
	return fmt.Sprint(err)
}

func (e *Error) lastWords() string {
	lines := e.Stderr[max(0, len(e.Stderr)-messageLines):]
	return clipFront(strings.Join(lines, "; "), messageBytes) // the last word is the one that counts
}

// stuck names processes that a KILL did not end, as one in uninterruptible sleep.
func stuck(pids []int) string {
	return "cannot end process " + strings.Trim(fmt.Sprint(pids), "[]")
}

// Unwrap gives the error of execve(2), or the cause of the context's end.
func (e *Error) Unwrap() error { return e.Err }

// NotMine says that the hook does not support what was asked; for probe: the firmware is not its own.
func (e *Error) NotMine() bool { return e.Exit == ExitNotMine }

// MissingTool says that this machine lacks a tool or kernel feature, which the hook named on stderr.
func (e *Error) MissingTool() bool { return e.Exit == ExitMissing }

// Busy says that somebody uses the object.
func (e *Error) Busy() bool { return e.Exit == ExitBusy }
