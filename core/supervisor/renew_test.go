// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"firmwared/core/sandbox/sandboxtest"
)

// A handover larger than any buffer comes through: After holds an environment.
func TestLaunchWithLargeHandover(t *testing.T) {
	spec := shell(t, sandboxtest.Root(t), "sleep 1000")
	spec.After = &Command{Args: []string{"/bin/true"}, Env: []string{"LARGE=" + strings.Repeat("x", 100_000)}}
	status := launch1(t, spec)
	cmdline := fmt.Sprintf("/proc/%d/cmdline", status.SupervisorPID)
	sandboxtest.Poll(t, "renewed program", func() bool {
		data, _ := os.ReadFile(cmdline)
		return strings.Count(string(data), "\x00") == 4
	})
	if _, err := Info(testContext(t), spec.Dir); err != nil {
		t.Error(err)
	}
	if err := Kill(testContext(t), spec.Dir, 0, 0); err != nil {
		t.Error(err)
	}
	now, err := Read(spec.Dir)
	if err != nil || now.Exit == nil || now.Exit.Status() != 137 || now.SupervisorPID != status.SupervisorPID {
		t.Errorf("%+v, %v", now, err)
	}
}
