// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A keeper keeps nothing of its parent open, and dies with the thread that made it.
func TestKeeperHoldsNothing(t *testing.T) {
	started := make(chan *os.Process)
	end := make(chan struct{})
	var run func()
	run = func() {
		// A thread ends with the goroutine that is locked to it, the main one excepted.
		runtime.LockOSThread()
		if unix.Gettid() == os.Getpid() {
			go run()
			<-end
			return
		}
		keeper, err := startKeeper()
		if err != nil {
			t.Error(err)
		}
		started <- keeper
		<-end
	}
	go run()
	keeper := <-started
	if keeper == nil {
		t.FailNow()
	}
	open := -1
	for limit := time.Now().Add(5 * time.Second); open != 0 && time.Now().Before(limit); time.Sleep(time.Millisecond) {
		entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", keeper.Pid))
		if err != nil {
			t.Fatal(err)
		}
		open = len(entries)
	}
	if open != 0 {
		t.Errorf("%d descriptors are open", open)
	}
	close(end)
	begin := time.Now()
	if state, err := keeper.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Errorf("%v, %v after %v", state, err, time.Since(begin))
	}
}

// What is closed here is closed, also when a keeper was made meanwhile: a detached mount
// that it held would keep a layer from being unmounted.
func TestKeeperSharesDescriptors(t *testing.T) {
	for range 200 {
		var pipe [2]int
		if err := unix.Pipe2(pipe[:], unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		keeper, err := startKeeper()
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(pipe[1])
		fds := []unix.PollFd{{Fd: int32(pipe[0])}}
		_, err = unix.Poll(fds, 0)
		endKeeper(keeper)
		unix.Close(pipe[0])
		if err != nil || fds[0].Revents&unix.POLLHUP == 0 {
			t.Fatalf("the other end is still open (%v)", err)
		}
	}
}
