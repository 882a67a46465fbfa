// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"firmwared/core/hook"
)

// site is a web server on loopback, which ends with the kit's child.
type site struct {
	url     string
	content []byte
	secret  string // a file of this machine, to which a redirect leads
}

// serve starts the site at its first use.
func (k *kit) serve() (*site, error) {
	if k.site != nil {
		return k.site, nil
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &site{url: "http://" + l.Addr().String(), content: make([]byte, 1<<20), secret: filepath.Join(k.dir, "secret")}
	_, _ = rand.Read(s.content)
	if err := os.WriteFile(s.secret, []byte("not to be fetched by a redirect\n"), 0o600); err != nil {
		return nil, err
	}
	go func() { _ = http.Serve(l, s) }()
	k.site = s
	return s, nil
}

func (s *site) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/firmware":
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(s.content)))
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(s.content))
	case "/broken":
		w.Header().Set("Content-Length", strconv.Itoa(len(s.content)))
		_, _ = w.Write(s.content[:len(s.content)/2])
		panic(http.ErrAbortHandler)
	case "/file":
		w.Header().Set("Location", "file://"+s.secret)
		w.WriteHeader(http.StatusFound)
	case "/large": // without its length
		for range 64 {
			if _, err := w.Write(s.content); err != nil {
				return
			}
		}
	default:
		http.NotFound(w, r)
	}
}

// fetchVars are those of a fetch, or of an unpack or verify of what came; dir is their place.
func (k *kit) fetchVars(path string, most int) (vars map[string]string, dir string, err error) {
	s, err := k.serve()
	if err != nil {
		return nil, "", err
	}
	k.count++
	dir = filepath.Join(k.dir, fmt.Sprintf("fetch.%d", k.count))
	vars = map[string]string{
		hook.VarURL: s.url + path, hook.VarOutput: filepath.Join(dir, "it's the output"), hook.VarState: filepath.Join(dir, "state"),
		hook.VarMax: strconv.Itoa(most), hook.VarStall: "5",
		hook.VarFile: filepath.Join(dir, "file"), hook.VarSignature: filepath.Join(dir, "signature"), hook.VarKey: filepath.Join(dir, "key"),
	}
	err = os.MkdirAll(vars[hook.VarState], 0o700)
	for _, name := range []string{hook.VarFile, hook.VarSignature, hook.VarKey} {
		err = errors.Join(err, os.WriteFile(vars[name], []byte("nothing in particular\n"), 0o600))
	}
	return vars, dir, err
}

// fetch calls the hook for a path of the site. It returns what was written to the output, or nil, and how many bytes
// there are in all.
func (k *kit) fetch(path string, most int) (r result, output []byte, all int64, err error) {
	if !slices.Contains(k.d.Schemes, "http") {
		return r, nil, 0, skipped("the hook does not announce http")
	}
	vars, dir, err := k.fetchVars(path, most)
	if err != nil {
		return r, nil, 0, err
	}
	defer os.RemoveAll(dir)
	fetchVars := maps.Clone(vars)
	for _, name := range []string{hook.VarFile, hook.VarSignature, hook.VarKey} {
		if err := os.Remove(vars[name]); err != nil {
			return r, nil, 0, err
		}
		delete(fetchVars, name)
	}
	r = k.call(request{action: hook.ActionFetch, vars: fetchVars})
	if r.is(hook.ExitMissing) == nil {
		return r, nil, 0, skipped(r.String())
	}
	output, _ = os.ReadFile(vars[hook.VarOutput])
	err = filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if info, err := d.Info(); err == nil {
				all += info.Size()
			}
		}
		return err
	})
	return r, output, all, err
}

func fetchGets(k *kit, _ string) error {
	r, output, _, err := k.fetch("/firmware", 1<<20)
	if err == nil {
		err = r.done()
	}
	if err != nil {
		return err
	}
	if !bytes.Equal(output, k.site.content) {
		return fmt.Errorf("the output has %d bytes that are not the %d of the server", len(output), len(k.site.content))
	}
	for line := range strings.Lines(string(r.stdout)) {
		if _, _, ok := hook.ParseProgress(strings.TrimSuffix(line, "\n")); !ok {
			return fmt.Errorf("it prints %.60q on stdout", line)
		}
	}
	if len(r.left) > 0 {
		return fmt.Errorf("it left processes: %s", strings.Join(r.left, ", "))
	}
	return nil
}

func fetchFails(k *kit, _ string) error {
	for _, c := range []struct{ path, what string }{
		{"/missing", "of what the server does not have"}, {"/broken", "that breaks off"}, {"/file", "that is led to a file of this machine"},
	} {
		r, _, _, err := k.fetch(c.path, 1<<20)
		if err != nil {
			return err
		}
		if r.done() == nil || r.late {
			return fmt.Errorf("a fetch %s, a failure wanted: %v", c.what, r)
		}
		if len(r.stderr) == 0 {
			return fmt.Errorf("a fetch %s fails and does not say why", c.what)
		}
	}
	return nil
}

func fetchLimit(k *kit, _ string) error {
	const most, more = 512 << 10, 64 << 10
	for _, path := range []string{"/firmware", "/large"} {
		r, _, all, err := k.fetch(path, most)
		if err != nil {
			return err
		}
		if r.done() == nil || all > most+more {
			return fmt.Errorf("more than %d bytes, a failure wanted and no more written: %d bytes, %v", most, all, r)
		}
	}
	return nil
}

// verifyRefuses offers what no key has signed, in the forms of two common kinds as well.
func verifyRefuses(k *kit, _ string) error {
	for _, text := range []string{
		"nothing in particular\n", "", "untrusted comment: none\nRWQAAA\ntrusted comment: none\nAAAA\n",
		"-----BEGIN PGP SIGNATURE-----\n\nAAAA\n-----END PGP SIGNATURE-----\n",
	} {
		vars, dir, err := k.fetchVars("/firmware", 1<<20)
		if err == nil {
			err = os.WriteFile(vars[hook.VarSignature], []byte(text), 0o600)
		}
		if err != nil {
			return err
		}
		r := k.call(request{action: hook.ActionVerify, vars: vars})
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		if r.done() == nil || r.late {
			return fmt.Errorf("%.40q is no signature, a failure wanted: %v", text, r)
		}
	}
	return nil
}
