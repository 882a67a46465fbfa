// SPDX-License-Identifier: Apache-2.0

// Package sandbox starts pid 1 of an instance in namespaces of its own, with the
// union as its root, and tells how it ended.
//
// Start runs in the host's namespaces as root; it clones Spec.Program as the
// init stage (argv[1] "init", see Main), which mounts, pivots and drops what it
// must not keep, and then becomes the instance's program. The package knows no
// registry, mounts no union, keeps no state on disk and does no console copying.
//
// The default environment, for names that Spec.Env leaves out: PATH (the usual
// six directories, sbin included), HOME (from the instance's passwd file, else
// /), TERM (linux, with a terminal), container=firmwared. HOSTNAME is not set.
//
// The firmware is taken to be hostile: after the pivot nothing is reached by a
// path that it could have bent. A mount point of ours that is a symbolic link is
// an error that names it.
//
// A Process may be used from several goroutines. Each costs one locked thread.
//
// Failure promise: when Start fails no process, mount, descriptor or thread is
// left. Directories that were made as bind targets stay in the union. A Process
// dies with the process that started it, unless its program clears its own
// parent-death signal: then its cgroup is the handle that is left.
package sandbox
