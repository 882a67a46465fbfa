// SPDX-License-Identifier: Apache-2.0

//go:build faults

package fault

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

const (
	variable    = "FIRMWARED_FAULT"
	logVariable = "FIRMWARED_FAULT_LOG"
)

var (
	armed string
	nth   int64
	stop  bool
	log   *os.File // opened at once: the init stage has another root when it dies
	seen  atomic.Int64
)

func init() {
	words := strings.Split(os.Getenv(variable), ":")
	if words[0] == "list" {
		fmt.Println(strings.Join(points, "\n"))
		os.Exit(0)
	}
	if armed = words[0]; armed == "" {
		return
	}
	if !slices.Contains(points, armed) {
		panic(variable + ": no step is named " + armed)
	}
	if nth = 1; len(words) > 1 {
		nth, _ = strconv.ParseInt(words[1], 10, 64)
	}
	stop = len(words) > 2 && words[2] == "stop"
	if path := os.Getenv(logVariable); path != "" {
		var err error
		if log, err = os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644); err != nil {
			panic(err)
		}
	}
}

// Point dies here if it is the step to die at.
func Point(name string) {
	Trace(name)
	if name != armed || seen.Add(1) != nth {
		return
	}
	if log != nil {
		_, _ = log.WriteString(name + "\n")
	}
	if stop {
		_ = unix.Kill(unix.Getpid(), unix.SIGSTOP)
		return
	}
	_ = unix.Kill(unix.Getpid(), unix.SIGKILL)
	// A pid 1 cannot be killed from inside its namespace (pid_namespaces(7)).
	unix.Exit(128 + int(unix.SIGKILL))
}

// Env hands the order on.
func Env() []string {
	if armed == "" {
		return nil
	}
	return []string{variable + "=" + os.Getenv(variable), logVariable + "=" + os.Getenv(logVariable)}
}
