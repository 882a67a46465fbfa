// SPDX-License-Identifier: Apache-2.0

package apparmor

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// suffix is that of a template's file name, and of a record in Store.Dir.
const suffix = ".profile"

// templateLimit is far above any profile written by hand.
const templateLimit = 1 << 20

// CheckName refuses what cannot be the name of a template.
func CheckName(name string) error {
	rest := strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-")
	if name == "" || len(name) > 63 || rest != "" || name[0] == '_' || name[0] == '-' {
		return fmt.Errorf("%q is no name of a profile template (a-z, 0-9, _ and -)", name)
	}
	return nil
}

// Subject is whom a template is rendered for.
type Subject struct {
	ID   string // of the instance
	Root string // the mount point of its union
	Key  string // tells this state directory from others: a shared profile belongs to one
}

// Profile is a rendered template.
type Profile struct {
	Name     string // as the kernel knows it
	Template string
	Text     string
	Shared   bool // serves every instance with this template
}

// Find reads the template of a name: the first of dirs that has it wins. Who can
// write a template can undo the confinement, so one that others than root may
// change is refused.
func Find(dirs []string, name string) (path, text string, err error) {
	if err := CheckName(name); err != nil {
		return "", "", err
	}
	for _, dir := range dirs {
		path := filepath.Join(dir, name+suffix)
		text, err := readTrusted(path)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("cannot use profile template %s: %w", path, err)
		}
		return path, text, nil
	}
	return "", "", fmt.Errorf("there is no profile template %s%s in %s", name, suffix, strings.Join(dirs, ", "))
}

func readTrusted(path string) (string, error) {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return "", err
		}
		if st.Uid != 0 || st.Mode&0o022 != 0 && st.Mode&unix.S_ISVTX == 0 {
			return "", fmt.Errorf("the directory %s is not root's alone (chown root, chmod go-w)", dir)
		}
		if dir == "/" {
			break
		}
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer file.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &st); err != nil {
		return "", err
	}
	switch {
	case st.Mode&unix.S_IFMT != unix.S_IFREG:
		return "", errors.New("it is not a regular file")
	case st.Uid != 0 || st.Mode&0o022 != 0:
		return "", errors.New("it is not root's alone (chown root, chmod go-w)")
	}
	data, err := io.ReadAll(io.LimitReader(file, templateLimit+1))
	if err == nil && len(data) > templateLimit {
		err = errors.New("it is larger than 1 MiB")
	}
	return string(data), err
}

const (
	nameMark = "@{profile}"
	idMark   = "@{id}"
	rootMark = "@{root}"
)

// Render fills a template in. One that uses @{id} or @{root} outside of comments
// gives a profile for this subject alone; any other serves all, under a name that
// carries the hash of the text, so that a changed template never replaces the
// profile of what runs already.
func Render(template, text string, who Subject) (Profile, error) {
	p := Profile{Template: template}
	rules := withoutComments(text)
	if !strings.Contains(rules, nameMark) {
		return p, fmt.Errorf("profile template %s names no profile: write \"profile %s\"", template, nameMark)
	}
	p.Shared = !strings.Contains(rules, idMark) && !strings.Contains(rules, rootMark)
	p.Name = OwnName(who.ID)
	if p.Shared {
		sum := sha256.Sum256([]byte(text))
		p.Name = prefix + who.Key + "_" + hex.EncodeToString(sum[:8])
	}
	p.Text = strings.NewReplacer(nameMark, p.Name, idMark, who.ID, rootMark, who.Root).Replace(text)
	return p, nil
}

// withoutComments keeps "#include", which is no comment.
func withoutComments(text string) string {
	var rules strings.Builder
	for line := range strings.Lines(text) {
		if i := strings.IndexByte(line, '#'); i >= 0 && !strings.HasPrefix(line[i:], "#include") {
			line = line[:i] + "\n"
		}
		rules.WriteString(line)
	}
	return rules.String()
}
