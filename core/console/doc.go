// SPDX-License-Identifier: Apache-2.0

// Package console carries what pid 1 says to those who want to read it: the log
// file, any number of viewers, and the terminal a person sits at.
//
// It opens no pty and starts no process: sandbox makes the master, supervisor
// copies it into a Fanout. A log stays below a limit, and beside it stands when
// each part of it was written.
//
// A Log, a Fanout and its Viewers may be used from several goroutines at once. A
// Terminal and a Detacher belong to one goroutine, except for Terminal.Restore.
//
// Failure promise: nothing a viewer or a disk does makes Fanout.Write fail, lose
// bytes of the log that the disk would have taken, or wait for more than
// stallBudget in all; a Terminal is left as it was found.
package console
