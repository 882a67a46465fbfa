// SPDX-License-Identifier: Apache-2.0

package supervisor

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// errLauncher: nobody will see to the network, so there is to be no instance.
var errLauncher = errors.New("the command that starts it is gone")

// raiseNet calls raise with the network namespace of the init stage pid. The number
// is believed only if it is a child of the supervisor, which reaps none before it is
// told to go on, and which is itself no other process's number as long as the caller
// has not reaped it.
func raiseNet(raise func(*os.File) ([]string, error), pid, parent int) ([]string, error) {
	proc := fmt.Sprintf("/proc/%d/", pid)
	namespace, err := os.Open(proc + "ns/net")
	if err != nil {
		return nil, fmt.Errorf("cannot open network namespace: %w", err)
	}
	defer namespace.Close()
	status, err := os.ReadFile(proc + "status")
	if err == nil && !bytes.Contains(status, fmt.Appendf(nil, "\nPPid:\t%d\n", parent)) {
		err = fmt.Errorf("process %d is not the init stage", pid)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot open network namespace: %w", err)
	}
	return raise(namespace)
}
