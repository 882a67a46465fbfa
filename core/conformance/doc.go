// SPDX-License-Identifier: Apache-2.0

// Package conformance is the kit that drives every clause of the hook contract against one hook and gives a verdict
// for each. The clauses are one table (Clauses); their work is in the files named after what they are about.
//
// Test starts this program again, as Main, in a mount namespace of its own. There a tmpfs is the scratch place; it
// covers /run/firmwared, so that its paths are short and plain and nothing of it exists outside of the namespace.
// What can leave the namespace all the same, loop devices, processes and cgroups, carries the run's token in its
// name or path: the child takes it away after each clause, and Test once more when the child has ended, however it
// did. A user's sample is copied, never used itself.
//
// Needs root. The hook runs as the program would run it, and is as little believed.
package conformance
