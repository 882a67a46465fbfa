// SPDX-License-Identifier: Apache-2.0

package apparmor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Store is the profiles of one state directory.
type Store struct{ Dir string }

func (s Store) record(name string) string { return filepath.Join(s.Dir, name+suffix) }

// Load makes sure that a profile is in the kernel and enforcing. One that is
// there with the same text costs a look; one that was compiled before, for the
// same kernel and by the same parser, is not compiled again.
func (s Store) Load(ctx context.Context, p Profile) error {
	if err := KernelEnforces(); err != nil {
		return fmt.Errorf("cannot load AppArmor profile %s: %w", p.Name, err)
	}
	if text, err := os.ReadFile(s.record(p.Name)); err == nil && string(text) == p.Text && s.claimed(p.Name) {
		if now, err := mode(p.Name); err == nil && now == "enforce" {
			return nil
		}
	}
	binary, err := s.compiled(ctx, p)
	if err != nil {
		return err
	}
	if err := s.put(p, binary); err != nil {
		return errors.Join(fmt.Errorf("cannot load AppArmor profile %s: %w", p.Name, err), s.Remove(p.Name))
	}
	now, err := mode(p.Name)
	if err == nil && now != "enforce" {
		err = fmt.Errorf("AppArmor profile %s does not enforce: it is in mode %q", p.Name, now)
	}
	if err != nil {
		return errors.Join(err, s.Remove(p.Name))
	}
	return nil
}

// put gives a compiled profile to the kernel. The record comes first: what is in
// the kernel is always on record.
func (s Store) put(p Profile, binary []byte) error {
	unlock, err := lockMachine()
	if err != nil {
		return err
	}
	defer unlock()
	if err := replace(s.record(p.Name), []byte(p.Text)); err != nil {
		return err
	}
	if err := s.claim(p.Name); err != nil {
		return err
	}
	return write(".replace", binary)
}

// Remove takes a profile of this store out of the kernel; one that is not there
// is no error, one that has users is ErrInUse.
func (s Store) Remove(name string) error {
	if _, err := os.Stat(s.record(name)); err != nil {
		return nil
	}
	unlock, err := lockMachine()
	if err != nil {
		return fmt.Errorf("cannot remove AppArmor profile %s: %w", name, err)
	}
	defer unlock()
	if err := unload(name); err != nil {
		return err
	}
	if err := os.Remove(s.record(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cannot forget AppArmor profile %s: %w", name, err)
	}
	return nil
}

// Names lists the profiles on record: loaded, or about to be when a command died.
func (s Store) Names() []string {
	entries, _ := os.ReadDir(s.Dir)
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), suffix); ok && !strings.HasPrefix(name, ".") {
			names = append(names, name)
		}
	}
	return names
}

// Text is what a profile was loaded from.
func (s Store) Text(name string) (string, error) {
	text, err := os.ReadFile(s.record(name))
	if err != nil {
		return "", fmt.Errorf("cannot read AppArmor profile %s: %w", name, err)
	}
	return string(text), nil
}

// write hands data to the kernel, which takes a profile in one write only.
func write(file string, data []byte) error {
	f, err := os.OpenFile(filepath.Join(securityFS, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.Write(data)
	return err
}

// replace writes a file whole or not at all. A reboot ends what it tells, so it
// is not synced.
func replace(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("cannot keep AppArmor profile: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".new*")
	if err != nil {
		return fmt.Errorf("cannot keep AppArmor profile: %w", err)
	}
	_, err = tmp.Write(data)
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return fmt.Errorf("cannot keep AppArmor profile: %w", err)
	}
	return nil
}
