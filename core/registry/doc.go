// SPDX-License-Identifier: Apache-2.0

// Package registry keeps the records of firmwares and instances, the run-time
// files beside them, the locks, and the marks of operations under way. It
// decides nothing and knows nothing of mounts or processes.
//
// Two kinds of file:
//
//   - Records (Store.State, one JSON file an object, with a schema version)
//     hold identity and properties. They are replaced atomically and survive a
//     power cut: temporary file, fsync, rename, fsync of the directory.
//   - Run-time files (Store.Run) hold what a reboot ends. They are replaced
//     atomically, without fsync, and carry the boot id: one of another boot
//     reads as absent.
//
// Callers lock: a record is written under the lock of its object, names are
// allocated under the lock "names". Reading needs no lock.
package registry
