// SPDX-License-Identifier: Apache-2.0

package core

import (
	"fmt"
	"net"
	"runtime"

	"golang.org/x/sys/unix"
)

// netInterface is an interface of a network namespace.
type netInterface struct {
	name      string
	up        bool
	addresses []string // with their lengths
}

// interfacesIn lists the interfaces of a network namespace, given by its path.
func interfacesIn(namespace string) (found []netInterface, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// Never unlocked: the thread ends with the goroutine, and the namespace it
		// entered is nobody else's.
		runtime.LockOSThread()
		fd, openErr := unix.Open(namespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err = openErr; err != nil {
			return
		}
		defer unix.Close(fd)
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			return
		}
		all, listErr := net.Interfaces()
		err = listErr
		for _, i := range all {
			one := netInterface{name: i.Name, up: i.Flags&net.FlagUp != 0}
			addresses, _ := i.Addrs()
			for _, a := range addresses {
				one.addresses = append(one.addresses, a.String())
			}
			found = append(found, one)
		}
	}()
	<-done
	if err != nil {
		return nil, fmt.Errorf("cannot look at network namespace %s: %w", namespace, err)
	}
	return found, nil
}

// addressesIn lists what the interfaces of a network namespace have.
func addressesIn(namespace string) (found []string) {
	all, _ := interfacesIn(namespace)
	for _, i := range all {
		for _, a := range i.addresses {
			found = append(found, i.name+" "+a)
		}
	}
	return found
}

// hostNetNS is the inode number of the network namespace that this process is in.
func hostNetNS() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("cannot look at the network namespace: %w", err)
	}
	return st.Ino, nil
}

// hasInterface asks for one name in this process's network namespace; the net package
// would list all.
func hasInterface(name string) bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	request, err := unix.NewIfreq(name)
	return err == nil && unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, request) == nil
}
