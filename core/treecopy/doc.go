// SPDX-License-Identifier: Apache-2.0

// Package treecopy moves files and directories between trees as tar streams
// (archive/tar, PAX): types, owners, modes, times, extended attributes, and hard
// links within one copy. It needs root, knows no instance and locks nothing.
//
// Either side may belong to somebody hostile who changes it meanwhile. Every path
// is resolved below a directory that is given as a descriptor; nothing but
// regular files and directories is ever opened, so that no device is touched and
// no fifo waited for. Devices and sockets are not copied: they are named.
//
// Failure promise: a file appears whole or not at all; what was copied before an
// error stays.
package treecopy
