// SPDX-License-Identifier: Apache-2.0

//go:build !faults

// Package fault names the steps between which a command may die. In the usual
// build they only tell their time (FIRMWARED_TRACE, see Trace). In one made with the tag "faults" the process dies, as by
// kill -9, at the step that the environment names (see points.go for the names):
//
//	FIRMWARED_FAULT=NAME[:N]       at the Nth time (the first) that a process gets there
//	FIRMWARED_FAULT=NAME:N:stop    stop there instead, as by SIGSTOP
//	FIRMWARED_FAULT=list           print all names
//	FIRMWARED_FAULT_LOG=FILE       append the name to FILE when it happens
//
// That build says "+faults" in its version and is never installed.
package fault

// Point is a step: all before it is done, nothing after it is begun.
func Point(name string) { Trace(name) }

// Env is what a process of this program needs in its environment to die at its
// own steps.
func Env() []string { return nil }
