// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"errors"
	"fmt"
	"syscall"
)

// ExecError says that the instance was ready and its program was not.
type ExecError struct {
	// Path is the program as it was asked for, or as it was found.
	Path string
	// NotFound separates "there is no such program" from "it cannot be run".
	NotFound bool
	Err      error
}

func (e *ExecError) Error() string {
	return fmt.Sprintf("cannot run %s: %v", e.Path, e.Err)
}

// Unwrap gives the cause; an errno survives the way from the init stage.
func (e *ExecError) Unwrap() error { return e.Err }

// Status is what a shell would exit with: 127 not found, 126 cannot be run.
func (e *ExecError) Status() int {
	if e.NotFound {
		return 127
	}
	return 126
}

// StageError says which step of preparing the instance failed, and on what.
type StageError struct {
	// Step is a verb with its kind of object: "mount proc on", "set hostname".
	Step string
	// Object is the path or name at fault.
	Object string
	Err    error
}

func (e *StageError) Error() string {
	if e.Object == "" {
		return fmt.Sprintf("cannot %s: %v", e.Step, e.Err)
	}
	return fmt.Sprintf("cannot %s %s: %v", e.Step, e.Object, e.Err)
}

// Unwrap gives the cause; an errno survives the way from the init stage.
func (e *StageError) Unwrap() error { return e.Err }

func stage(step, object string, err error) error {
	if err == nil {
		return nil
	}
	return &StageError{Step: step, Object: object, Err: err}
}

// Failure is an ExecError, a StageError or any other error in a form that
// survives JSON.
type Failure struct {
	Kind     string `json:"kind"`
	Step     string `json:"step,omitempty"`
	Object   string `json:"object,omitempty"`
	Text     string `json:"text"`
	Errno    int    `json:"errno,omitempty"`
	NotFound bool   `json:"not_found,omitempty"`
}

// PackError is undone by Failure.Err.
func PackError(err error) *Failure {
	var errno syscall.Errno
	f := &Failure{Kind: "other", Text: err.Error()}
	if errors.As(err, &errno) {
		f.Errno = int(errno)
	}
	var exec *ExecError
	var step *StageError
	switch {
	case errors.As(err, &exec):
		f.Kind, f.Object, f.NotFound, f.Text = "exec", exec.Path, exec.NotFound, exec.Err.Error()
	case errors.As(err, &step):
		f.Kind, f.Step, f.Object, f.Text = "stage", step.Step, step.Object, step.Err.Error()
	}
	return f
}

// Err gives back an error of the type and text that was packed.
func (f *Failure) Err() error {
	cause := error(&remoteError{text: f.Text, errno: syscall.Errno(f.Errno)})
	switch f.Kind {
	case "exec":
		return &ExecError{Path: f.Object, NotFound: f.NotFound, Err: cause}
	case "stage":
		return &StageError{Step: f.Step, Object: f.Object, Err: cause}
	}
	return cause
}

// remoteError is an error of another process: its text, and its errno for
// errors.Is.
type remoteError struct {
	text  string
	errno syscall.Errno
}

func (e *remoteError) Error() string { return e.text }

func (e *remoteError) Unwrap() error {
	if e.errno == 0 {
		return nil
	}
	return e.errno
}
