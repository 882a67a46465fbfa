// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"firmwared/core/word"
)

// Moment is a point in an instance's life at which life-cycle hooks are called.
type Moment struct {
	Action string
	Abort  bool // a hook that fails undoes what led here; else it is a warning, and the next one is called
}

var moments = []Moment{{ActionPrepared, true}, {ActionStarted, true}, {ActionDead, false}, {ActionDropped, false}}

// FindMoment tells whether an action is that of life-cycle hooks, and its rule.
func FindMoment(action string) (Moment, bool) {
	i := slices.IndexFunc(moments, func(m Moment) bool { return m.Action == action })
	if i < 0 {
		return Moment{}, false
	}
	return moments[i], true
}

// momentSuffix ends the name of the directory, in a hook directory, that holds the hooks of a moment.
const momentSuffix = ".d"

// MomentDirs names the directories that hold the hooks of a moment.
func (d Dirs) MomentDirs(action string) []string {
	dirs := make([]string, len(d))
	for i, dir := range d {
		dirs[i] = filepath.Join(dir, action+momentSuffix)
	}
	return dirs
}

var momentName = word.Form{First: "A-Za-z0-9", Rest: "A-Za-z0-9._-", Max: 200}

// leftOver: what editors and package managers leave.
func leftOver(name string) bool {
	ext := filepath.Ext(name)
	return strings.HasSuffix(name, "~") || ext == ".bak" ||
		strings.HasPrefix(ext, ".dpkg-") || strings.HasPrefix(ext, ".rpm")
}

// ValidMomentName says whether a file of this name is a life-cycle hook. Others are ignored.
func ValidMomentName(name string) bool {
	return momentName.MatchString(name) && !leftOver(name)
}

// Moment returns the hooks of a moment in the order of their names. As with other hooks the first of a name decides,
// even when it is refused, and a link to /dev/null disables it. A hook or directory with a problem is an error of its
// own. Without any directory of that moment this costs an open(2) for each hook directory.
func (d Dirs) Moment(action string) (hooks []Hook, problems []error) {
	seen := map[string]bool{}
	for _, dir := range d.MomentDirs(action) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			problems = append(problems, fmt.Errorf("cannot read hook directory: %w", err))
		}
		for _, entry := range entries {
			name := entry.Name()
			if seen[name] || !ValidMomentName(name) {
				continue
			}
			seen[name] = true
			h, err := load(name, filepath.Join(dir, name))
			switch {
			case err == nil:
				hooks = append(hooks, h)
			case !errors.Is(err, errMasked) && !errors.Is(err, fs.ErrNotExist):
				problems = append(problems, err)
			}
		}
	}
	slices.SortFunc(hooks, func(a, b Hook) int { return strings.Compare(a.Name, b.Name) })
	return hooks, problems
}

// title is what a hook is called in messages: by its file, which the action tells the kind of.
func title(name, action string) string {
	if _, ok := FindMoment(action); ok {
		return action + momentSuffix + "/" + name
	}
	return name + Suffix
}
