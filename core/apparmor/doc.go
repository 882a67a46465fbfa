// SPDX-License-Identifier: Apache-2.0

// Package apparmor renders profile templates, compiles them with
// apparmor_parser, loads and unloads the result, and tells what a process runs
// under. It needs root and securityfs, knows no instance and locks nothing: its
// caller sees to it that one profile is not loaded and removed at once.
//
// It keeps its records and compiled profiles in one directory, Store.Dir: a file
// NAME.profile for each profile that it may have loaded, with the text of it,
// written before the kernel gets it. So it never removes a profile of others, but
// for those that nobody has on record any more (Stale).
//
// The kernel's interface: Documentation/admin-guide/LSM/apparmor.rst and
// security/apparmor/apparmorfs.c. A profile that is removed leaves the processes
// in it unconfined, so it must have no users by then.
package apparmor
