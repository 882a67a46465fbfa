// SPDX-License-Identifier: Apache-2.0

package apparmor

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	compileLimit = 2 * time.Minute // an emulated machine needs seconds
	cacheSize    = 16              // compiled profiles kept
)

// compiled returns a profile as the kernel takes it.
func (s Store) compiled(ctx context.Context, p Profile) ([]byte, error) {
	program, err := parser()
	if err != nil {
		return nil, fmt.Errorf("cannot load AppArmor profile %s: %w", p.Name, err)
	}
	key, err := cacheKey(program, p.Text)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(s.Dir, "compiled", key)
	if binary, err := os.ReadFile(path); err == nil {
		now := time.Now()
		_ = os.Chtimes(path, now, now)
		return binary, nil
	}
	binary, err := compile(ctx, program, p)
	if err != nil {
		return nil, err
	}
	if err := replace(path, binary); err != nil {
		return nil, err
	}
	s.prune()
	return binary, nil
}

// compile never touches the kernel nor the parser's own cache.
func compile(ctx context.Context, program string, p Profile) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, compileLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "--skip-cache", "--stdout")
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(p.Text), &stdout, &stderr
	cmd.Env, cmd.Dir, cmd.WaitDelay = []string{"LC_ALL=C", "PATH=" + strings.Join(toolDirs, ":")}, "/", time.Second
	err := cmd.Run()
	if err == nil && stdout.Len() == 0 {
		err = fmt.Errorf("%s gave nothing", parserName)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot compile profile template %s: %s: %w", p.Template, complaint(stderr.String()), err)
	}
	return stdout.Bytes(), nil
}

// complaint is the parser's error in one line. It reads a pipe, which it calls
// "stdin" or nothing.
func complaint(stderr string) string {
	var said []string
	for line := range strings.Lines(stderr) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "Warning") {
			said = append(said, line)
		}
	}
	if len(said) == 0 {
		return "it said nothing"
	}
	return strings.Join(said[max(0, len(said)-3):], "; ")
}

// policyDir is what a template may include from.
const policyDir = "/etc/apparmor.d"

// cacheKey changes with all that the compiled form depends on: the text, what it
// may include, the parser and the features of the kernel.
func cacheKey(program, text string) (string, error) {
	var st unix.Stat_t
	if err := unix.Stat(program, &st); err != nil {
		return "", fmt.Errorf("cannot look at %s: %w", program, err)
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%s\x00%d %d %d\x00", program, st.Ino, st.Size, st.Mtim.Nano())
	if strings.Contains(withoutComments(text), "include") {
		_ = filepath.WalkDir(policyDir, func(path string, d fs.DirEntry, err error) error {
			if info, statErr := os.Stat(path); err == nil && statErr == nil {
				fmt.Fprintf(sum, "%s %d %d\x00", path, info.Size(), info.ModTime().UnixNano())
			}
			return nil
		})
	}
	features, err := featureText(filepath.Join(securityFS, "features"))
	if err != nil {
		return "", fmt.Errorf("cannot read AppArmor's features: %w", err)
	}
	fmt.Fprintf(sum, "%s\x00%s", features, text)
	return hex.EncodeToString(sum.Sum(nil)[:16]), nil
}

func featureText(dir string) (string, error) {
	var text strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		fmt.Fprintf(&text, "%s=%s\n", path, data)
		return err
	})
	return text.String(), err
}

// prune keeps the newest compiled profiles.
func (s Store) prune() {
	dir := filepath.Join(s.Dir, "compiled")
	entries, _ := os.ReadDir(dir)
	if len(entries) <= cacheSize {
		return
	}
	used := func(e os.DirEntry) time.Time {
		info, err := e.Info()
		if err != nil {
			return time.Time{}
		}
		return info.ModTime()
	}
	sort.Slice(entries, func(i, j int) bool { return used(entries[i]).After(used(entries[j])) })
	for _, e := range entries[cacheSize:] {
		_ = os.Remove(filepath.Join(dir, e.Name()))
	}
}
