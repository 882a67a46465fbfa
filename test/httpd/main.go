// SPDX-License-Identifier: Apache-2.0

// httpd is a web server with the faults that a download can meet, on loopback. It
// serves the files of a directory under the names of its faults:
//
//	/ok/NAME        as it should be: ranges, ETag, Last-Modified
//	/dated/NAME     like broken, without an ETag
//	/plain/NAME     without ranges, ETag and length
//	/broken/NAME    breaks off in the middle the first time, then as it should be
//	/short/NAME     breaks off in the middle always, and knows no ranges
//	/stall/NAME     stops in the middle, and answers no range at all
//	/halting/NAME   stops in the middle the first time
//	/changed/NAME   breaks off the first time; then it has NAME.new
//	/liar/NAME      so, but answers for NAME.new whatever If-Range says
//	/endless        never ends
//	/slow/NAME      comes at 20 kB/s
//	/busy/NAME      503
//	/secret/NAME    for user, password
//	/to?URL         leads there, and to itself without
//	/empty          204
//
// The directory gets the ports (http, https), the certificate of the authority
// (ca.pem) and a line for each request (log). It ends with its standard input.
package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

var modified = time.Now().Add(-time.Hour).UTC()

type server struct {
	dir  string
	mu   sync.Mutex
	seen map[string]int
	log  *os.File
}

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: httpd DIRECTORY <PIPE")
	}
	s := &server{dir: os.Args[1], seen: map[string]int{}}
	var err error
	if s.log, err = os.Create(filepath.Join(s.dir, "log")); err != nil {
		log.Fatal(err)
	}
	config, err := authority(filepath.Join(s.dir, "ca.pem"))
	if err != nil {
		log.Fatal(err)
	}
	quiet := log.New(io.Discard, "", 0)
	for _, scheme := range []string{"https", "http"} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			log.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		if scheme == "https" {
			l = tls.NewListener(l, config)
		}
		go func() { log.Fatal((&http.Server{Handler: s, ErrorLog: quiet}).Serve(l)) }()
		if err := os.WriteFile(filepath.Join(s.dir, scheme), []byte(strconv.Itoa(port)), 0o644); err != nil {
			log.Fatal(err)
		}
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// authority makes one, and a certificate of it for the loopback address.
func authority(file string) (*tls.Config, error) {
	caKey, err1 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	key, err2 := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err1 != nil || err2 != nil {
		return nil, fmt.Errorf("%v %v", err1, err2)
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "127.0.0.1"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		return nil, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, os.WriteFile(file, text, 0o644)
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	first := s.seen[r.URL.Path] == 0
	s.seen[r.URL.Path]++
	fmt.Fprintln(s.log, r.URL.Path, or(r.Header.Get("Range"), "whole"))
	s.mu.Unlock()
	kind, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	file := filepath.Join(s.dir, filepath.Base(name))
	switch kind {
	case "to":
		w.Header().Set("Location", or(r.URL.RawQuery, "/to"))
		w.WriteHeader(http.StatusFound)
		return
	case "endless":
		for zeros := make([]byte, 64<<10); ; {
			if _, err := w.Write(zeros); err != nil {
				return
			}
		}
	case "empty":
		w.WriteHeader(http.StatusNoContent)
		return
	case "busy":
		http.Error(w, "later", http.StatusServiceUnavailable)
		return
	case "secret":
		if user, password, _ := r.BasicAuth(); user != "user" || password != "password" {
			http.Error(w, "no", http.StatusUnauthorized)
			return
		}
	case "changed", "liar":
		if !first {
			file += ".new"
		}
	}
	content, err := os.ReadFile(file)
	if err != nil {
		http.NotFound(w, r)
		return
	}
	s.serve(w, r, kind, first, content)
}

func (s *server) serve(w http.ResponseWriter, r *http.Request, kind string, first bool, content []byte) {
	half := content[:len(content)/2]
	if kind != "dated" && kind != "plain" && kind != "short" {
		w.Header().Set("ETag", fmt.Sprintf(`"%x"`, sha256.Sum256(content)))
	}
	switch kind {
	case "broken", "dated", "changed", "liar":
		if first {
			w.Header().Set("Last-Modified", modified.Format(http.TimeFormat))
			part(w, content, half)
			panic(http.ErrAbortHandler)
		}
		if kind == "liar" {
			r.Header.Del("If-Range")
		}
	case "short":
		part(w, content, half)
		panic(http.ErrAbortHandler)
	case "stall", "halting":
		if first {
			part(w, content, half)
		}
		if first || kind == "stall" {
			<-r.Context().Done()
			return
		}
	case "slow":
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		for len(content) > 0 {
			n := min(2000, len(content))
			if _, err := w.Write(content[:n]); err != nil || r.Context().Err() != nil {
				return
			}
			w.(http.Flusher).Flush()
			content = content[n:]
			time.Sleep(100 * time.Millisecond)
		}
		return
	case "plain":
		w.(http.Flusher).Flush()
		_, _ = w.Write(content)
		return
	}
	http.ServeContent(w, r, "", modified, strings.NewReader(string(content)))
}

// part promises all and sends less.
func part(w http.ResponseWriter, all, some []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(all)))
	_, _ = w.Write(some)
	w.(http.Flusher).Flush()
}

func or(text, other string) string {
	if text == "" {
		return other
	}
	return text
}
