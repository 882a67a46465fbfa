// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
)

func common() map[string]string {
	return map[string]string{VarAPI: "1", VarVerbose: "n", VarTimeout: "30", VarLib: "/usr/libexec/firmwared/hooks"}
}

func with(sets ...map[string]string) map[string]string {
	all := common()
	for _, set := range sets {
		maps.Copy(all, set)
	}
	return all
}

// given lists the names of an environment, without the fixed part.
func given(env []string) string {
	var out []string
	for _, entry := range env[len(fixedEnv):] {
		name, _, _ := strings.Cut(entry, "=")
		out = append(out, strings.TrimPrefix(name, "FIRMWARED_"))
	}
	return strings.Join(out, " ")
}

// TestEnvOfEveryAction is the contract's table, turned round: one set of variables, and what each call gets of it.
func TestEnvOfEveryAction(t *testing.T) {
	everything := with(unionVars(), lowerVars(), map[string]string{VarReason: "drop", "FIRMWARED_OPT_PARTITION": "2",
		VarFirmwareName: "fw", VarWorkspace: "/w", VarPID: "42", VarExitCode: "137", VarExitReason: "killed by SIGKILL",
		VarOutput: "/out", VarURL: "https://h/f", VarMax: "17179869184", VarSHA256: strings.Repeat("0f", 32), VarCA: "/ca", VarStall: "30",
		VarFile: "/f", VarSignature: "/s", VarKey: "/k"}, netVars())
	const all = "VERBOSE TIMEOUT LIB"
	const network = "API ACTION LAYER ID NAME STATE OPT_PARTITION " + all + " NETNS NET_IF NET_HOST_IF NET_ADDRESS NET_ADDRESS6" +
		" NET_HOST_ADDRESS NET_HOST_ADDRESS6 NET_FIXED NET_TRANSIT_ADDRESS NET_LEASES"
	for call, want := range map[string]string{
		"describe":      "API ACTION " + all,
		"probe":         "API ACTION FIRMWARE " + all,
		"mount lower":   "API ACTION LAYER FIRMWARE RO ID NAME STATE LABEL OPT_PARTITION " + all,
		"mount union":   "API ACTION LAYER LOWERDIR RW WORKDIR UNION ID NAME STATE LABEL CONFINEMENT " + all,
		"remount union": "API ACTION LAYER LOWERDIR RW WORKDIR UNION ID NAME STATE LABEL CONFINEMENT " + all,
		"unmount lower": "API ACTION LAYER FIRMWARE RO ID NAME STATE LABEL OPT_PARTITION REASON " + all,
		"unmount union": "API ACTION LAYER LOWERDIR RW WORKDIR UNION ID NAME STATE LABEL CONFINEMENT REASON " + all,
		"create net":    network,
		"configure net": network,
		"clean net":     network,
		"prepared":      "API ACTION FIRMWARE FIRMWARE_NAME UNION ID NAME " + all + " WORKSPACE",
		"started":       "API ACTION FIRMWARE FIRMWARE_NAME UNION ID NAME " + all + " WORKSPACE PID",
		"dead":          "API ACTION FIRMWARE FIRMWARE_NAME UNION ID NAME " + all + " WORKSPACE EXIT_CODE EXIT_REASON",
		"pack":          "API ACTION FIRMWARE OUTPUT " + all,
		"fetch":         "API ACTION OUTPUT STATE " + all + " URL MAX SHA256 CA STALL",
		"unpack":        "API ACTION OUTPUT " + all + " MAX FILE",
		"verify":        "API ACTION STATE " + all + " FILE SIGNATURE KEY",
		"dropped":       "API ACTION FIRMWARE FIRMWARE_NAME ID NAME " + all,
	} {
		action, layer, _ := strings.Cut(call, " ")
		env, err := Env(action, layer, everything)
		if err != nil {
			t.Errorf("%s: %v", call, err)
			continue
		}
		if got := given(env); got != want {
			t.Errorf("%s:\n got %s\nwant %s", call, got, want)
		}
		if !slices.Contains(env, VarAction+"="+action) || layer != "" && !slices.Contains(env, VarLayer+"="+layer) {
			t.Errorf("%s: %v", call, env)
		}
	}
}

func netVars() map[string]string {
	return map[string]string{VarNetns: "/w/netns", VarNetIf: "eth0", VarNetHostIf: "fw0123456789ab",
		VarNetAddress: "10.202.0.2/30", VarNetAddress6: "fd00::2/126", VarNetHostAddress: "10.202.0.1/30", VarNetHostAddress6: "fd00::1/126",
		VarNetFixed: "yes", VarNetTransit: "10.202.0.2/30", VarNetLeases: "/run/firmwared/net/leases"}
}

func TestEnvOfANetworkRefusesBadValues(t *testing.T) {
	good := map[string]string{VarID: "0123456789ab", VarName: "box", VarState: "/s"}
	for name, values := range map[string][]string{
		VarNetIf:           {"", "sixteen-letters-", "a b", "a/b", "a:b", "..", "ä", "eth%d"},
		VarNetAddress:      {"", "10.202.0.2", "10.202.0.2/33", "fd00::2/126", "::ffff:10.0.0.1/128"},
		VarNetHostAddress6: {"", "10.202.0.2/30", "fd00::2"},
		VarNetFixed:        {"no"},
		VarNetLeases:       {"", "relative"},
	} {
		for _, value := range values {
			env, err := Env(ActionCreate, LayerNet, with(good, netVars(), map[string]string{name: value}))
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%q gave %v, %v", name, value, env, err)
			}
		}
	}
}

func TestEnvNamesAllThatIsMissing(t *testing.T) {
	_, err := Env(ActionMount, LayerUnion, common())
	var problem *EnvError
	if !errors.As(err, &problem) {
		t.Fatalf("got %v", err)
	}
	want := []string{VarLowerDir, VarRW, VarWorkDir, VarUnion, VarID, VarName, VarState, VarLabel, VarConfinement}
	if !slices.Equal(problem.Missing, want) {
		t.Errorf("missing %v", problem.Missing)
	}
	for _, name := range want {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("%q does not name %s", err, name)
		}
	}
	if strings.ContainsRune(err.Error(), '\n') {
		t.Errorf("more than one line: %q", err)
	}
}

func TestEnvRefusesBadValues(t *testing.T) {
	long := "/" + strings.Repeat("x", 199)
	for name, values := range map[string][]string{
		VarRO:                     {"relative", "/with space", "/a:b", "/a,b", long, "/a\x00b", ""},
		VarFirmware:               {"relative", "/a\x00b", ""},
		VarID:                     {"0123456789AB", "0123", "0123456789abc", ""},
		VarName:                   {"-x", "a b", strings.Repeat("x", 64), ""},
		VarLabel:                  {"overlay", "firmwared_", "firmwared_a,b"},
		VarState:                  {"/run/a b"},
		VarTimeout:                {"0", "-1", "soon", "1.5"},
		VarVerbose:                {"yes"},
		VarAPI:                    {"2"},
		"FIRMWARED_OPT_x":         {"1"},
		"FIRMWARED_OPT_":          {"1"},
		"FIRMWARED_OPT_PARTITION": {"a\x00b"},
		"FIRMWARED_UNHEARD_OF":    {"1"},
		"PATH":                    {"/bin"},
	} {
		for _, value := range values {
			env, err := Env(ActionMount, LayerLower, with(lowerVars(), map[string]string{name: value}))
			if err == nil || !strings.Contains(err.Error(), name) {
				t.Errorf("%s=%q gave %v, %v", name, value, env, err)
			}
		}
	}
	for _, value := range []string{"/a::/b", "/a:b", "/a:" + long, ""} {
		if _, err := Env(ActionMount, LayerUnion, with(unionVars(), map[string]string{VarLowerDir: value})); err == nil {
			t.Errorf("lowerdir %q was taken", value)
		}
	}
	for _, value := range []string{"https:/h/f", "HTTPS://h/f", "https://", "https://h/a b", "https://h/a\"b", "https://h/a\\b", "https://h/ä", "https://h/a\nb"} {
		set := map[string]string{VarURL: value, VarOutput: "/out", VarState: "/s", VarMax: "1", VarStall: "1"}
		if _, err := Env(ActionFetch, "", with(set)); err == nil {
			t.Errorf("URL %q was taken", value)
		}
	}
	for _, bad := range [][2]string{{"format", ""}, {ActionMount, ""}, {ActionMount, LayerNet}, {ActionCreate, ""}, {ActionClean, LayerUnion}, {ActionRemount, LayerLower}, {ActionProbe, LayerLower}} {
		if _, err := Env(bad[0], bad[1], with(lowerVars(), unionVars())); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
}

func TestEnvTakesAnyFirmwarePath(t *testing.T) {
	for _, path := range []string{"/a b", "/ä", "/\"'$(x)`", "/a\nb", "/-x", "/a:b,c\\d", "/\xff"} {
		env, err := Env(ActionProbe, "", with(map[string]string{VarFirmware: path}))
		if err != nil || !slices.Contains(env, VarFirmware+"="+path) {
			t.Errorf("%q gave %v, %v", path, env, err)
		}
	}
	env, err := Env(ActionMount, LayerLower, with(lowerVars(), map[string]string{"FIRMWARED_OPT_A": ""}))
	if err != nil || !slices.Contains(env, "FIRMWARED_OPT_A=") {
		t.Errorf("an empty option gave %v, %v", env, err)
	}
}

// TestTable checks that the table can be what a document is compared with.
func TestTable(t *testing.T) {
	words := map[string]bool{All: true}
	for _, a := range Actions() {
		words[a.Name] = true
		for _, layer := range a.Layers {
			words[layer] = true
		}
		if a.Timeout <= 0 || a.Meaning == "" || DefaultTimeout(a.Name) != a.Timeout {
			t.Errorf("action %+v", a)
		}
	}
	seen := map[string]bool{}
	for _, v := range Variables() {
		if seen[v.Name] || v.Meaning == "" || len(v.For) == 0 || !strings.HasPrefix(v.Name, "FIRMWARED_") {
			t.Errorf("variable %+v", v)
		}
		seen[v.Name] = true
		for _, word := range v.For {
			if !words[word] {
				t.Errorf("%s is for %q, which is neither an action nor a layer", v.Name, word)
			}
		}
	}
}
