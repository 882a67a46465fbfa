// SPDX-License-Identifier: Apache-2.0

// Package core is the life cycle of firmwares and instances: what each command
// of the command line does, without its words. It brings together the registry,
// the hooks and the supervisors, and believes none of them: a state is read from
// the kernel, a hook's work is checked.
//
// Locks, always taken in this order, each for as short as it can be:
//
//	root       shared by every command that changes something, exclusive to make or
//	           take away the state directory's own mount
//	i-<id>     exclusive by what changes an instance; its union hooks run under it
//	f-<id>     exclusive by a lower hook and by removal, shared by union hooks;
//	           never two at once exclusively
//	names      while names are allocated and users of a firmware are counted;
//	           nothing is waited for under it
//
// Every operation writes down what it is about to do (a mark, a record, a
// run-time file) before it does it, so that the next command can finish or undo
// it (recover.go).
package core
