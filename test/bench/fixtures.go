// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// The state roots: main has its firmwares registered and their lowers mounted,
// path never has any beforehand, many is for many instances, large for large firmwares.
var roots = []string{"main", "path", "many", "large"}

// kinds of firmware that a run is measured on.
var kinds = []string{"directory", "ext4", "squashfs"}

// source is the path of the firmware of a kind.
func (b *bench) source(kind string) string {
	return b.path(map[string]string{"directory": "tree", "ext4": "tree.ext4", "squashfs": "tree.squashfs"}[kind])
}

// fixtures makes the firmwares, a static busybox and tick, and registers them.
func (b *bench) fixtures() error {
	say("making the firmwares in %s", b.work)
	if err := b.tree(b.source("directory")); err != nil {
		return err
	}
	for _, argv := range [][]string{
		{"mke2fs", "-q", "-t", "ext4", "-d", b.source("directory"), b.source("ext4"), "16M"},
		{"mksquashfs", b.source("directory"), b.source("squashfs"), "-quiet", "-no-progress"},
	} {
		if _, err := b.run(argv...); err != nil {
			return err
		}
	}
	for _, kind := range kinds {
		if _, err := b.run(b.fw("main", "firmware", "add", b.source(kind), "--name", kind)...); err != nil {
			return err
		}
	}
	return nil
}

// tree makes a root file system whose init sleeps.
func (b *bench) tree(dir string) error {
	for _, sub := range []string{"bin", "sbin", "dev", "proc", "sys", "tmp", "root", "etc", "usr", "run", "var"} {
		if err := os.MkdirAll(filepath.Join(dir, sub), 0o755); err != nil {
			return err
		}
	}
	for from, to := range map[string]string{"/bin/busybox": "busybox", filepath.Join(b.tools, "tick"): "tick"} {
		data, err := os.ReadFile(from)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "bin", to), data, 0o755); err != nil {
			return err
		}
	}
	for _, applet := range []string{"true", "sh", "sleep", "cat"} {
		if err := os.Symlink("busybox", filepath.Join(dir, "bin", applet)); err != nil {
			return err
		}
	}
	return errors.Join(
		os.WriteFile(filepath.Join(dir, "etc/os-release"), []byte("ID=bench\n"), 0o644), // nspawn wants one
		os.WriteFile(filepath.Join(dir, "etc/passwd"), []byte("root:x:0:0:root:/root:/bin/sh\n"), 0o644),
		os.WriteFile(filepath.Join(dir, "etc/group"), []byte("root:x:0:\n"), 0o644))
}

// firmwares are the ids of a state root's.
func (b *bench) firmwares(root string) (ids []string) {
	var list []struct{ ID string }
	text, err := b.run(b.fw(root, "firmware", "list", "--json")...)
	if err != nil || json.Unmarshal([]byte(text), &list) != nil {
		return []string{"unknown: " + tail(text) + fmt.Sprint(err)}
	}
	for _, f := range list {
		ids = append(ids, f.ID)
	}
	return ids
}

// image makes an ext4 image whose one large file has data of its own.
func (b *bench) image(path string, mib int) error {
	dir := path + ".d"
	if err := b.tree(dir); err != nil {
		return err
	}
	data := mib * 85 / 100 // the rest is for the file system itself
	script := fmt.Sprintf("head -c %dM /dev/urandom >%s/data && truncate -s %dM %s && mke2fs -q -F -m 0 -t ext4 -d %s %s && rm -r %s",
		data, dir, mib, path, dir, path, dir)
	_, err := b.run("bash", "-c", script)
	return err
}

// prepare makes one instance and returns its name.
func (b *bench) prepare(root, firmware string) (string, error) {
	name := strings.ReplaceAll(b.id(), "-", "_")
	_, err := b.run(b.fw(root, "prepare", firmware, "--name", name)...)
	return name, err
}
