// SPDX-License-Identifier: Apache-2.0

package core

import (
	"context"
	"strings"
	"testing"
)

func TestLacking(t *testing.T) {
	here := []string{"tool:sh", "fs:proc", "fs:tmpfs", "dev:null", "cpu:nonsense", "tool", "tool:", "", ":x"}
	if got := lacking(context.Background(), here); len(got) > 0 {
		t.Errorf("said to be missing: %q", got)
	}
	for word, want := range map[string]string{
		"tool:no-such-tool": "program no-such-tool (install it)",
		"tool:../bin/sh":    "program ../bin/sh",
		"fs:nodev":          "file system nodev",
		"fs:no-such-fs":     "file system no-such-fs",
		"dm:no-such-target": "device-mapper target no-such-target",
		"dev:no-such-node":  "device node /dev/no-such-node",
	} {
		got := lacking(context.Background(), append(here, word))
		if len(got) != 1 || !strings.HasPrefix(got[0], want) {
			t.Errorf("%s: %q, not %q", word, got, want)
		}
	}
}
