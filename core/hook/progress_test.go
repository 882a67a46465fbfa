// SPDX-License-Identifier: Apache-2.0

package hook

import "testing"

func TestParseProgress(t *testing.T) {
	for line, want := range map[string][2]int64{"progress=3/10": {3, 10}, "progress=0/1": {0, 1}, "progress=10/10": {10, 10}} {
		if done, total, ok := ParseProgress(line); !ok || done != want[0] || total != want[1] {
			t.Errorf("%s: %d of %d, %v", line, done, total, ok)
		}
	}
	for _, line := range []string{"", "3/10", "progress=", "progress=3", "progress=11/10", "progress=-1/10", "progress=0/0", "progress=1/1e3"} {
		if _, _, ok := ParseProgress(line); ok {
			t.Errorf("%q is taken", line)
		}
	}
}

func FuzzParseProgress(f *testing.F) {
	f.Add("progress=3/10")
	f.Add("progress=/")
	f.Fuzz(func(t *testing.T, line string) {
		if done, total, ok := ParseProgress(line); ok && (done < 0 || total < 1 || done > total) {
			t.Errorf("%q: %d of %d", line, done, total)
		}
	})
}
