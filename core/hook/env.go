// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"fmt"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"golang.org/x/sys/unix"
)

// toolPath is where a hook finds its programs.
const toolPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// The part of a hook's environment that is the same in every call: nothing of the caller's gets through.
var fixedEnv = []string{"PATH=" + toolPath, "LC_ALL=C.UTF-8"}

// FixedEnv returns a copy of what is the same in every hook's environment.
func FixedEnv() []string { return slices.Clone(fixedEnv) }

// LookTool is the program that a hook gets by that name, or "".
func LookTool(name string) string {
	if name == "" || strings.Contains(name, "/") {
		return ""
	}
	for _, dir := range filepath.SplitList(toolPath) {
		path := filepath.Join(dir, name)
		var st unix.Stat_t
		if unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFREG && st.Mode&0o111 != 0 {
			return path
		}
	}
	return ""
}

// EnvError says in what a call's variables break the contract. It is the caller's mistake, not the hook's.
type EnvError struct {
	Action, Layer string
	Missing       []string
	Bad           []string // "NAME is ..., not ..."
}

func (e *EnvError) Error() string {
	what := e.Action
	if e.Layer != "" {
		what += " of a " + e.Layer
	}
	var parts []string
	if len(e.Missing) > 0 {
		parts = append(parts, "missing "+strings.Join(e.Missing, " "))
	}
	parts = append(parts, e.Bad...)
	return fmt.Sprintf("cannot call a hook for %s: %s", what, strings.Join(parts, "; "))
}

// Env returns the complete environment of a call, in the table's order, or an EnvError that names everything that
// is wrong. Variables that have no meaning for the action are left out, so that one set of them can serve all the
// calls for an object; a name that the contract does not know is an error. The action and layer need not be in vars.
func Env(action, layer string, vars map[string]string) ([]string, error) {
	problem := &EnvError{Action: action, Layer: layer}
	if bad := checkAction(action, layer); bad != "" {
		problem.Bad = append(problem.Bad, bad)
		return nil, problem
	}
	env := slices.Clone(fixedEnv)
	known := map[string]bool{VarAction: true, VarLayer: true}
	for i := range variables {
		v := &variables[i]
		if v.Name == optionEntry {
			env = append(env, problem.options(v, vars, known)...)
			continue
		}
		known[v.Name] = true
		value, given := vars[v.Name]
		switch v.Name {
		case VarAction:
			value, given = action, true
		case VarLayer:
			value, given = layer, true
		}
		if !v.applies(action, layer) {
			continue
		}
		if value == "" {
			given = false // no variable but an option may be empty
		}
		if problem.add(v, v.Name, value, given) {
			env = append(env, v.Name+"="+value)
		}
	}
	for _, name := range sortedKeys(vars) {
		if !known[name] {
			problem.Bad = append(problem.Bad, name+" is not in the contract")
		}
	}
	if len(problem.Missing)+len(problem.Bad) > 0 {
		return nil, problem
	}
	return env, nil
}

// add judges one variable of the call and says whether the environment gets it.
func (e *EnvError) add(v *Variable, name, value string, given bool) bool {
	if !given {
		if !v.Optional {
			e.Missing = append(e.Missing, name)
		}
		return false
	}
	if bad := v.Kind.Check(value); bad != "" {
		e.Bad = append(e.Bad, name+" "+bad)
		return false
	}
	return true
}

// options judges the variables of the family FIRMWARED_OPT_<KEY>.
func (e *EnvError) options(v *Variable, vars map[string]string, known map[string]bool) []string {
	var env []string
	for _, name := range sortedKeys(vars) {
		key, ok := strings.CutPrefix(name, optionPrefix)
		if !ok {
			continue
		}
		known[name] = true
		switch {
		case !optionVarPattern.MatchString(key):
			e.Bad = append(e.Bad, fmt.Sprintf("%q is not the variable of an option", name))
		case v.applies(e.Action, e.Layer) && e.add(v, name, vars[name], true):
			env = append(env, name+"="+vars[name])
		}
	}
	return env
}

func checkAction(action, layer string) string {
	for _, a := range actions {
		if a.Name != action {
			continue
		}
		if len(a.Layers) == 0 && layer == "" || slices.Contains(a.Layers, layer) {
			return ""
		}
		if layer == "" {
			return "it needs a layer: " + strings.Join(a.Layers, " or ")
		}
		return fmt.Sprintf("there is no %s of layer %q", action, layer)
	}
	return fmt.Sprintf("%q is not an action", action)
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
