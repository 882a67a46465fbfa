// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
)

// onThread runs f on a thread of its own, which ends with it: f may change the thread's namespaces.
func onThread(f func() error) (err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread()
		err = f()
	}()
	<-done
	return err
}

// newNetwork makes a network namespace with lo up.
func newNetwork() (ns *os.File, err error) {
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot make a network namespace: %w", err)
		}
		if err := raise("lo"); err != nil {
			return fmt.Errorf("cannot raise lo: %w", err)
		}
		ns, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	return ns, err
}

func raise(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifreq, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	ifreq.SetUint16(unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifreq)
}

// within runs f in a network namespace.
func within(ns *os.File, f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("cannot enter a network namespace: %w", err)
		}
		return f()
	})
}

// outside runs f where a call of the layer belongs: what is about networks, in a namespace that stands for the machine's,
// so that this is never touched.
func (k *kit) outside(layer string, f func()) error {
	if layer != hook.LayerNet && !k.d.HasLayer(hook.LayerNet) {
		f()
		return nil
	}
	host, err := k.hostNetwork()
	if err != nil {
		return err
	}
	return within(host, func() error {
		f()
		return nil
	})
}

// newHost leaves the namespace outside, which goes with all that is in it.
func (k *kit) newHost() {
	if k.host != nil {
		k.host.Close()
		k.host = nil
	}
}

func (k *kit) hostNetwork() (_ *os.File, err error) {
	callLock.Lock()
	defer callLock.Unlock()
	if k.host == nil {
		k.host, err = newNetwork()
	}
	return k.host, err
}

// look lists what is in a network namespace: interfaces with their addresses, routes, and rules where nft(8) is there to
// tell them.
func look(ns *os.File) (all []string, err error) {
	err = within(ns, func() error {
		interfaces, err := net.Interfaces()
		if err != nil {
			return err
		}
		for _, i := range interfaces {
			addresses, err := i.Addrs()
			if err != nil {
				continue // it went
			}
			all = append(all, "interface "+i.Name)
			for _, a := range addresses {
				all = append(all, "address "+i.Name+" "+a.String())
			}
		}
		routes, err := lookRoutes()
		if err != nil {
			return err
		}
		all = append(all, routes...)
		if nft := hook.LookTool("nft"); nft != "" {
			rules, err := exec.Command(nft, "list", "ruleset").Output()
			if err != nil {
				return fmt.Errorf("cannot list the rules of nft: %w", err)
			}
			for line := range strings.Lines(string(rules)) {
				all = append(all, "rule "+strings.TrimSpace(line))
			}
		}
		return nil
	})
	slices.Sort(all)
	return all, err
}

// lookRoutes: what is compared of a route is its table, type, destination and gateway.
func lookRoutes() (all []string, err error) {
	dump, err := syscall.NetlinkRIB(unix.RTM_GETROUTE, unix.AF_UNSPEC)
	if err != nil {
		return nil, fmt.Errorf("cannot list routes: %w", err)
	}
	messages, err := syscall.ParseNetlinkMessage(dump)
	if err != nil {
		return nil, fmt.Errorf("cannot list routes: %w", err)
	}
	for _, m := range messages {
		if m.Header.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
			continue
		}
		attributes, err := syscall.ParseNetlinkRouteAttr(&m)
		if err != nil {
			return nil, fmt.Errorf("cannot list routes: %w", err)
		}
		text := fmt.Sprintf("route family %d /%d table %d type %d", m.Data[0], m.Data[1], m.Data[4], m.Data[7]) // struct rtmsg
		for _, a := range attributes {
			if a.Attr.Type == unix.RTA_DST || a.Attr.Type == unix.RTA_GATEWAY {
				text += " " + hex.EncodeToString(a.Value)
			}
		}
		all = append(all, text)
	}
	return all, nil
}

// apart names the first thing that is in one list only; both are sorted.
func apart(before, after []string) error {
	for _, it := range after {
		if !slices.Contains(before, it) {
			return fmt.Errorf("outside there is %s, which was not there before", it)
		}
	}
	for _, it := range before {
		if !slices.Contains(after, it) {
			return fmt.Errorf("outside %s is gone", it)
		}
	}
	return nil
}
