// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"firmwared/core/fault"
	"firmwared/core/registry"
	"firmwared/core/word"
)

var sha256Form = word.Form{First: "0-9a-fA-F", Rest: "0-9a-fA-F", Min: 64, Max: 64}

// addURL fetches an image and registers it: fetched, checked as it came (checksum,
// signature), and only then unpacked and shown to the hooks that mount. It belongs to
// the program and goes with its record, or with CopyTo to the user.
func (m *Manager) addURL(ctx context.Context, text string, o AddOptions) (*registry.Firmware, error) {
	u, err := parseURL(text)
	if err == nil {
		err = m.checkFetch(u, &o)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot add firmware: %w", err)
	}
	fw := &registry.Firmware{Image: true, Options: o.Options, Name: o.Name, Ephemeral: o.Ephemeral, Created: time.Now(), URL: u.shown}
	if err := m.setBase(fw, u.shown, o.Base); err != nil {
		return nil, err
	}
	known := m.fetchedBefore(o)
	var c *imageCopy
	if known != nil {
		m.notice(fmt.Sprintf("nothing is fetched: firmware %s has what %s is to be", known.Name, u.shown))
		fw.Path, fw.Download = known.Path, o.SHA256
	} else {
		c, err = m.fetchImage(ctx, u, fw, o)
		defer func() { c.discard() }()
		if err != nil {
			return nil, err
		}
	}
	if err := m.chooseHook(ctx, fw, o.Hook); err != nil {
		return nil, err
	}
	progress := m.tellProgress(fw, o.Progress)
	if fw.SHA256 == "" { // known, or unpacked
		if err := m.hashOnce(ctx, fw, progress); err != nil {
			return nil, err
		}
	}
	if o.CopyTo != "" {
		return m.registerAt(ctx, fw, o.CopyTo, progress)
	}
	if known != nil {
		return m.registerKnown(ctx, fw, progress)
	}
	if err := syncFile(c.path); err != nil {
		return nil, fmt.Errorf("cannot add firmware %s: %w", u.shown, cause(err))
	}
	fault.Point("fetch.synced")
	return m.register(ctx, fw, c, "image", fw.SHA256)
}

// checkFetch says before anything is fetched what would fail afterwards, and
// completes the options.
func (m *Manager) checkFetch(u remote, o *AddOptions) error {
	if o.SHA256 != "" && !sha256Form.MatchString(o.SHA256) {
		return fmt.Errorf("%q is no sha256: it has 64 hexadecimal digits", o.SHA256)
	}
	o.SHA256 = strings.ToLower(o.SHA256)
	if all, _ := m.store.Firmwares.All(); o.Name != "" {
		for _, fw := range all {
			if fw.Name == o.Name && fw.URL != u.shown {
				return fmt.Errorf("another firmware is named %s", o.Name)
			}
		}
	}
	files := []*string{&o.Key}
	if !IsURL(o.Signature) {
		files = append(files, &o.Signature)
	}
	for _, file := range files {
		if *file == "" {
			continue
		}
		path, err := filepath.Abs(*file)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return fmt.Errorf("cannot read %s: %w", quote(*file), cause(err))
		}
		*file = path
	}
	if _, err := os.Lstat(o.CopyTo); o.CopyTo != "" && err == nil {
		return fmt.Errorf("cannot keep it as %s: that is there already", quote(o.CopyTo))
	}
	if u.scheme == "http" && o.SHA256 == "" && o.Signature == "" {
		m.notice(fmt.Sprintf("warning: %s comes without TLS, --sha256 or --signature: anybody on the way can change it", u.shown))
	}
	return nil
}

// fetchedBefore finds a firmware whose image is what a URL must give by its
// checksum. A signature is judged over the file as it came, so it is fetched.
func (m *Manager) fetchedBefore(o AddOptions) *registry.Firmware {
	if o.SHA256 == "" || o.Signature != "" {
		return nil
	}
	all, _ := m.store.Firmwares.All()
	for _, fw := range all {
		if !fw.Image || fw.Removing || fw.Download != o.SHA256 && (fw.Download != "" || fw.SHA256 != o.SHA256) {
			continue
		}
		if info, err := os.Stat(fw.Path); err == nil && statOf(info) == *fw.Stat {
			return fw
		}
	}
	return nil
}

// fetchImage fetches, checks and unpacks, and fills in the path and the checksums;
// that of the image stays empty if it was unpacked. The caller discards the copy, also
// after an error.
func (m *Manager) fetchImage(ctx context.Context, u remote, fw *registry.Firmware, o AddOptions) (*imageCopy, error) {
	h, err := m.fetchHook(ctx, u)
	if err != nil {
		return nil, err
	}
	about := &registry.Firmware{Name: o.Name, Path: u.shown} // for events
	c, err := m.fetch(ctx, h, u, m.cfg.FetchMax, o.SHA256, m.tellProgress(about, o.Fetched))
	if err != nil {
		return c, err
	}
	fw.Path = c.path
	sum, stat, err := hashImage(ctx, c.path, nil, m.tellProgress(about, o.Progress))
	if err != nil {
		return c, err
	}
	if o.SHA256 != "" && o.SHA256 != sum {
		return c, fmt.Errorf("cannot add firmware %s: the sha256 of what came is %s, not %s", u.shown, sum, o.SHA256)
	}
	if o.Signature != "" {
		if err := m.verify(ctx, u, c, o.Signature, o.Key); err != nil {
			return c, err
		}
	}
	fault.Point("fetch.checked")
	fw.Download = sum
	made, unpacked, err := m.unpack(ctx, h, u, c)
	if unpacked {
		c.discard()
		fw.Path = made.path
		return made, err
	}
	fw.SHA256, fw.Stat = sum, stat
	return c, err
}

// registerKnown registers an image that another firmware has already, or finds
// that it is registered the same way.
func (m *Manager) registerKnown(ctx context.Context, fw *registry.Firmware, progress func(done, total int64)) (*registry.Firmware, error) {
	var c *imageCopy
	if _, err := m.store.Firmwares.Load(firmwareID(fw, "image", fw.SHA256)); err != nil {
		c, err = m.copyImage(ctx, fw, progress)
		defer c.discard()
		if err != nil {
			return nil, err
		}
	}
	made, err := m.register(ctx, fw, c, "image", fw.SHA256)
	if err == nil && made == fw && c == nil { // it was removed just now, with the image
		err = errors.Join(fmt.Errorf("cannot add firmware %s: the one that had it was removed meanwhile: add it again", fw.URL), m.Remove(ctx, fw))
	}
	return made, err
}

// registerAt copies an image to a path that is the user's, and registers that.
func (m *Manager) registerAt(ctx context.Context, fw *registry.Firmware, path string, progress func(done, total int64)) (*registry.Firmware, error) {
	err := writeWhole(path, func(w io.Writer) error {
		_, _, err := hashImage(ctx, fw.Path, w, progress)
		return err
	})
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err == nil {
		fw.Path, _, err = findSource(path)
	}
	if err == nil {
		stat := statOf(info)
		fw.Stat = &stat
		fw, err = m.register(ctx, fw, nil, "image", fw.SHA256)
	}
	if err != nil {
		return nil, errors.Join(err, os.Remove(path))
	}
	return fw, nil
}
