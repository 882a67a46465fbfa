// SPDX-License-Identifier: Apache-2.0

// Package supervisor owns a started instance: its pid 1, its console, its log
// and the truth about whether it runs.
//
// Launch makes a detached process (argv[1] "supervise", see Main) for one
// instance; Run and Begin do the same inside the calling process, with plain
// pipes. Read, Kill, Signal, Wait, Resize and Attach talk to either from any
// other process, and need nothing but the instance's run-time directory. The
// package mounts no union, knows no registry and decides no policy. A detached
// supervisor executes itself once more when the instance has started (renew.go).
//
// In the directory: "alive", a lock file; "status.json", replaced atomically;
// "sock", the supervisor's socket. An instance runs exactly while the lock is
// held, which the kernel ends with the process whatever kills it. It is an open
// file description lock, so that Read can ask for it without ever taking it
// (F_OFD_GETLK), and pid 1 never inherits it.
//
// Processes: pid 1 and all it makes are born in the cgroup Spec.Cgroup/payload;
// detached supervisors share the group "supervisors" beside Spec.Cgroup's last
// element, outside their caller's.
//
// Failure promise: when Launch or Begin fails, no process, socket, status or
// cgroup of the instance is left. When a supervisor is killed its pid 1 dies
// with it and Kill removes what it left.
package supervisor
