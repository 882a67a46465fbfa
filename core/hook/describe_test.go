// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

const goodDescription = `api=1
layers=union lower
summary=a format = with an equals sign
formats=tar cpio
formats=cpio zip
requires=tool:tar fs:overlay
option=partition
option=root-hash
magic=257:7573746172
magic=0x8000:01ff
remount=live
daemon=yes
unmount=plain
directory=all
colour=green

`

func TestParse(t *testing.T) {
	d, err := Parse([]byte(goodDescription))
	if err != nil {
		t.Fatal(err)
	}
	want := Description{
		Layers:    []string{"lower", "union"},
		Summary:   "a format = with an equals sign",
		Formats:   []string{"tar", "cpio", "zip"},
		Requires:  []string{"tool:tar", "fs:overlay"},
		Options:   []string{"partition", "root-hash"},
		Magic:     []Magic{{257, []byte("ustar")}, {0x8000, []byte{1, 255}}},
		Live:      true,
		Daemon:    true,
		Directory: DirectoryAll,
		Plain:     true,
	}
	if !reflect.DeepEqual(d, want) {
		t.Errorf("\n got %+v\nwant %+v", d, want)
	}
	if !d.HasLayer(LayerUnion) || d.HasLayer("net") || OptionVar("root-hash") != "FIRMWARED_OPT_ROOT_HASH" {
		t.Error("HasLayer or OptionVar")
	}
	if d, err := Parse([]byte("api=1\nlayers=fetch verify\nschemes=http,https\nschemes=x-y file")); err != nil ||
		strings.Join(d.Schemes, " ") != "http https x-y file" || !d.HasLayer(LayerFetch) || !d.HasLayer(LayerVerify) {
		t.Errorf("a fetch hook gave %+v, %v", d, err)
	}
	if _, err := Parse([]byte("api=1\nlayers=fetch\nschemes=Http")); err == nil {
		t.Error("a scheme in capitals was taken")
	}
	if d, err := Parse([]byte("api=1\nlayers=lower tomorrow")); err != nil || len(d.Layers) != 1 || d.Live || d.Daemon {
		t.Errorf("the shortest gave %+v, %v", d, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for text, reason := range map[string]string{
		"":                                                       "first line",
		"layers=lower\napi=1\n":                                  "first line",
		"api=2\nlayers=lower\n":                                  `version "2"`,
		"api=1 \nlayers=lower\n":                                 "version",
		"Usage: mount.hook\n":                                    "first line",
		"api=1\n":                                                "no layer",
		"api=1\nlayers=tomorrow\n":                               "no layer",
		"api=1\nlayers=lower\nnonsense\n":                        "line 3",
		"api=1\nlayers=lower\nmagic=x:00\n":                      "magic",
		"api=1\nlayers=lower\nmagic=0:0\n":                       "magic",
		"api=1\nlayers=lower\nmagic=-1:00\n":                     "magic",
		"api=1\nlayers=lower\nmagic=12\n":                        "magic",
		"api=1\nlayers=lower\noption=Root\n":                     "option",
		"api=1\nlayers=lower\nremount=yes\n":                     "remount",
		"api=1\nlayers=lower\ndaemon=true\n":                     "daemon",
		"api=1\nlayers=lower\nsummary=\xff\n":                    "UTF-8",
		"api=1\nsummary=" + strings.Repeat("x", maxDescribeLine): "line 2",
		"api=1" + strings.Repeat("\na=b", 300):                   "lines",
		"api=1\n#" + strings.Repeat("x", maxDescribe):            "bytes",
	} {
		if d, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), reason) || strings.ContainsRune(err.Error(), '\n') {
			t.Errorf("%.60q gave %+v, %v; want %q", text, d, err, reason)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(goodDescription))
	f.Add([]byte("api=1\nlayers=lower\nmagic=0:00"))
	f.Add([]byte("api=1\n\x00=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := Parse(data)
		if err != nil {
			if !reflect.DeepEqual(d, Description{}) || strings.ContainsAny(err.Error(), "\n\x1b") {
				t.Errorf("%+v, %q", d, err)
			}
			return
		}
		if len(d.Layers) == 0 || escape(d.Summary) != d.Summary {
			t.Errorf("%+v", d)
		}
		for _, key := range d.Options {
			if _, err := Env(ActionMount, LayerLower, with(lowerVars(), map[string]string{OptionVar(key): "x"})); err != nil {
				t.Error(err)
			}
		}
		d.MayTake(bytes.NewReader(data))
	})
}

func TestMayTake(t *testing.T) {
	d := Description{Magic: []Magic{{4, []byte("zip")}, {0, []byte("tar")}, {9, []byte{0, 0}}}}
	for image, want := range map[string]bool{
		"....zip": true, "tar": true, "....zi": false, "": false, "zip": false,
		"123456789\x00\x00": true, "123456789\x00": false, // what lies behind the end is not zero
	} {
		if d.MayTake(strings.NewReader(image)) != want {
			t.Errorf("%q: not %v", image, want)
		}
	}
	if d.MayTake(nil) {
		t.Error("a directory has no magic")
	}
	d.Magic = nil
	if !d.MayTake(nil) || !d.MayTake(strings.NewReader("")) {
		t.Error("a hook without magics must always be asked")
	}
}

// counting is a hook that leaves a trace of each call.
func counting(t *testing.T, rest string) (h Hook, dir string, calls func() int) {
	dir = t.TempDir()
	trace := filepath.Join(t.TempDir(), "trace")
	write(t, dir, "test", "echo x >>"+trace+"; "+rest)
	h, err := Dirs{dir}.Find("test")
	if err != nil {
		t.Fatal(err)
	}
	return h, dir, func() int {
		data, _ := os.ReadFile(trace)
		return strings.Count(string(data), "x")
	}
}

func TestDescribeCache(t *testing.T) {
	h, dir, calls := counting(t, "printf 'api=1\\nlayers=lower\\n'")
	r := testRunner(t)
	r.Lib = t.TempDir()
	r.CacheDir = filepath.Join(t.TempDir(), "cache", "describe")
	file := filepath.Join(r.CacheDir, "test.json")
	describe := func() Description {
		t.Helper()
		d, err := r.Describe(t.Context(), h)
		if err != nil || !d.HasLayer(LayerLower) {
			t.Fatalf("%+v, %v", d, err)
		}
		return d
	}
	kept := func() {
		t.Helper()
		poll(t, "the description is kept", func() bool { describe(); _, err := os.Stat(file); return err == nil })
		n := calls()
		if describe(); calls() != n {
			t.Fatal("a kept description was asked for again")
		}
	}
	again := func(why string) {
		t.Helper()
		n := calls()
		if describe(); calls() != n+1 {
			t.Errorf("%s: %d calls instead of one", why, calls()-n)
		}
	}
	kept()

	for why, content := range map[string]string{"broken": "{", "foreign": `{"path":"/other"}`, "empty": "",
		"unparsable": `{"output":"api=7"}`} {
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		again(why)
	}
	if err := os.Chmod(h.Path, 0o700); err != nil { // moves ctime
		t.Fatal(err)
	}
	h, _ = Dirs{dir}.Find("test")
	again("ctime")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	kept()

	if err := os.WriteFile(filepath.Join(r.Lib, "lib.bash"), []byte("#"), 0o644); err != nil {
		t.Fatal(err)
	}
	again("lib.bash")
	write(t, dir, "test", "printf 'api=1\\nlayers=union lower\\n'")
	h, _ = Dirs{dir}.Find("test")
	if d := describe(); !d.HasLayer(LayerUnion) {
		t.Error("a changed hook's old description was used")
	}
	entries, err := os.ReadDir(r.CacheDir)
	if err != nil || len(entries) != 1 {
		t.Errorf("in the cache: %v, %v", entries, err)
	}
}

func TestDescribeWithoutCache(t *testing.T) {
	h, _, calls := counting(t, "printf 'api=1\\nlayers=lower\\n'")
	r := testRunner(t)
	for n := 1; n < 3; n++ {
		if _, err := r.Describe(t.Context(), h); err != nil || calls() != n {
			t.Errorf("%d calls, %v", calls(), err)
		}
	}
	r.CacheDir = "/proc/nonexistent"
	if _, err := r.Describe(t.Context(), h); err != nil {
		t.Errorf("a cache that cannot be written: %v", err)
	}
}

func TestDescribeRefused(t *testing.T) {
	r := testRunner(t)
	h := made(t, "echo 'usage: me'")
	_, err := r.Describe(t.Context(), h)
	var refused *DescribeError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), h.Path) || !strings.Contains(err.Error(), "not api=1") {
		t.Errorf("got %v", err)
	}
	_, err = r.Describe(t.Context(), made(t, "echo oops >&2; exit 1"))
	if err == nil || err.Error() != "test.hook: describe failed: oops" {
		t.Errorf("got %v", err)
	}
}
