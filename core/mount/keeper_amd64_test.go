// SPDX-License-Identifier: Apache-2.0

package mount

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A keeper dies with the thread that made it.
func TestKeeperDiesWithItsThread(t *testing.T) {
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
	close(end)
	begin := time.Now()
	if state, err := keeper.Wait(); err != nil || state.Sys().(syscall.WaitStatus).Signal() != unix.SIGKILL {
		t.Errorf("%v, %v after %v", state, err, time.Since(begin))
	}
}

// A keeper holds no lock of a process that was killed, whenever that was.
func TestKeeperDiesWithItsParent(t *testing.T) {
	const variable = "FIRMWARED_TEST_KEEPER"
	if path := os.Getenv(variable); path != "" {
		runtime.LockOSThread()
		file, err := os.Open(path)
		if err == nil {
			err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		}
		if err != nil {
			t.Fatal(err)
		}
		fmt.Println("locked")
		for { // killed in the middle of this
			keeper, err := startKeeper()
			if err != nil {
				t.Fatal(err)
			}
			endKeeper(keeper)
		}
	}
	path := t.TempDir()
	for range 20 {
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestKeeperDiesWithItsParent$")
		cmd.Env = append(os.Environ(), variable+"="+path)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "locked\n" {
			t.Fatalf("%q, %v", line, err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		err = unix.EWOULDBLOCK
		for limit := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(limit); time.Sleep(time.Millisecond) {
			err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		}
		file.Close()
		if err != nil {
			t.Fatal("the lock is still held: ", err)
		}
	}
}

// What is closed here is closed, also when a keeper was made meanwhile: a detached mount
// that it held would keep a layer from being unmounted.
func TestKeeperSharesDescriptors(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
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
