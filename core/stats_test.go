// SPDX-License-Identifier: Apache-2.0

package core

import (
	"os"
	"testing"
	"time"
)

func TestParseProcess(t *testing.T) {
	const rest = " S 1 1 1 0 -1 4194560 1 2 3 4 100 50 7 3 20 0 5 0 777 123456 10 18446744073709551615\n"
	for _, name := range []string{"(sh)", "(a b)", "(x) S 9 9)", "())"} {
		p, ok := parseProcess([]byte("42 " + name + rest))
		if !ok || p.threads != 5 || p.cpu != 1600*time.Millisecond || p.memory != 10*int64(os.Getpagesize()) {
			t.Errorf("%s: %+v, %v", name, p, ok)
		}
	}
	for _, text := range []string{"", "1", "1 (sh) S 1 1", "1 (sh"} {
		if p, ok := parseProcess([]byte(text)); ok {
			t.Errorf("%q gave %+v", text, p)
		}
	}
	data, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	if p, ok := parseProcess(data); !ok || p.memory < 1<<20 || p.threads < 1 {
		t.Errorf("this process: %+v, %v", p, ok)
	}
}

func FuzzParseProcess(f *testing.F) {
	f.Add([]byte("1 (sh) S 1 1 1 0 -1 4194560 1 2 3 4 100 50 7 3 20 0 5 0 777 123456 10 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if p, ok := parseProcess(data); ok && p.threads < 0 {
			t.Errorf("%+v", p)
		}
	})
}
