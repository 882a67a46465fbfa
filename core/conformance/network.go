// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
	"firmwared/core/mount"
)

const noNetwork = "no network can be made here: "

// makeNet makes the namespace of an instance that nothing runs in yet, and what goes with it.
func (o *object) makeNet() error {
	if _, err := o.k.hostNetwork(); err != nil {
		return err
	}
	ns, err := newNetwork()
	if err != nil {
		return err
	}
	defer ns.Close()
	leases := filepath.Join(o.k.dir, "leases")
	if err := errors.Join(mount.Pin(ns, o.at("netns")), os.MkdirAll(leases, 0o700)); err != nil {
		return err
	}
	subnet := 4 * (o.k.count % 64)
	maps.Copy(o.vars, map[string]string{
		hook.VarNetns: o.at("netns"), hook.VarNetIf: "eth0", hook.VarNetHostIf: "fw" + o.vars[hook.VarID], hook.VarNetLeases: leases,
		hook.VarNetHostAddress:  fmt.Sprintf("10.202.0.%d/30", subnet+1),
		hook.VarNetAddress:      fmt.Sprintf("10.202.0.%d/30", subnet+2),
		hook.VarNetHostAddress6: fmt.Sprintf("fdc0:ffee::%x/126", subnet+1),
		hook.VarNetAddress6:     fmt.Sprintf("fdc0:ffee::%x/126", subnet+2),
	})
	for key, value := range o.k.spec.Options {
		o.vars[hook.OptionVar(key)] = value
	}
	return nil
}

// raise creates and configures. Its result is that of the last call, and the time of both.
func (o *object) raise(change ...func(*request)) result {
	created := o.call(hook.ActionCreate, change...)
	if created.done() != nil {
		return created
	}
	r := o.call(hook.ActionConfigure, change...)
	r.took += created.took
	return r
}

// inside looks at an interface in the object's namespace.
func (o *object) inside(name string) (up bool, addresses []string, err error) {
	ns, err := os.Open(o.at("netns"))
	if err != nil {
		return false, nil, err
	}
	defer ns.Close()
	err = within(ns, func() error {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return fmt.Errorf("there is no interface %s in the namespace", name)
		}
		list, err := i.Addrs()
		for _, a := range list {
			addresses = append(addresses, a.String())
		}
		up = i.Flags&net.FlagUp != 0
		return err
	})
	return up, addresses, err
}

// connected is what the program checks after configure, whose output is in o.last.
func (o *object) connected() error {
	said, err := hook.ParseNetwork(o.last.stdout)
	if err != nil {
		return fmt.Errorf("configure: %w", err)
	}
	name, wanted := o.vars[hook.VarNetIf], []string{said.Address, said.Address6}
	if said.Interface != "" {
		name = said.Interface
	}
	if said.Address == "" && said.Address6 == "" {
		wanted = []string{o.vars[hook.VarNetAddress]}
	}
	up, have, err := o.inside(name)
	if err == nil && !up {
		err = fmt.Errorf("the interface %s is down", name)
	}
	for _, address := range wanted {
		if err == nil && address != "" && !slices.Contains(have, address) {
			err = fmt.Errorf("the interface %s does not have the address %s but %s", name, address, strings.Join(have, ", "))
		}
	}
	if err != nil {
		return fmt.Errorf("configure: exit status 0, but %w", err)
	}
	return nil
}

// disconnected says what of the object is outside.
func (o *object) disconnected() error {
	all, err := look(o.k.host)
	if err != nil {
		return err
	}
	for _, it := range all {
		if strings.Contains(it, o.vars[hook.VarNetHostIf]) || strings.Contains(it, strings.TrimSuffix(o.vars[hook.VarNetHostAddress], "/30")+"/") {
			return fmt.Errorf("after clean there is still %s", it)
		}
	}
	return nil
}

func netCreate(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	r := o.call(hook.ActionCreate)
	if r.is(hook.ExitMissing) == nil {
		return skipped(noNetwork + r.String())
	}
	if err := r.done(); err != nil {
		return err
	}
	if _, _, err = o.inside(o.vars[hook.VarNetIf]); err != nil {
		return fmt.Errorf("create: exit status 0, but %w", err)
	}
	return nil
}

func netConfigure(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	r := o.raise()
	if r.is(hook.ExitMissing) == nil {
		return skipped(noNetwork + r.String())
	}
	if err := r.done(); err != nil {
		return err
	}
	return o.connected()
}

func netStdout(k *kit, layer string) error {
	for _, change := range [][]func(*request){nil, {loudly}} {
		o, err := k.object(layer)
		if err != nil {
			return err
		}
		for _, action := range []string{hook.ActionCreate, hook.ActionConfigure, hook.ActionClean} {
			r := o.call(action, change...)
			if err := r.done(); err != nil {
				return err
			}
			if action != hook.ActionConfigure && len(r.stdout) > 0 {
				return fmt.Errorf("%s prints on stdout: %.60q", r.what, r.stdout)
			}
			if _, err := hook.ParseNetwork(r.stdout); err != nil {
				return fmt.Errorf("%s: %w", r.what, err)
			}
		}
	}
	return nil
}

func netOutside(k *kit, layer string) error {
	o, err := k.object(layer)
	if err != nil {
		return err
	}
	before, err := snapshot(k.dir, o.at("state"), o.at("netns"), o.vars[hook.VarNetLeases])
	if err != nil {
		return err
	}
	return k.watch(func() error {
		if err := o.mounted(); err != nil {
			return err
		}
		if err := o.unmount().done(); err != nil {
			return err
		}
		after, err := snapshot(k.dir, o.at("state"), o.at("netns"), o.vars[hook.VarNetLeases])
		if err == nil {
			err = differ(before, after)
		}
		return err
	})
}

// asBefore runs f and compares what is outside; the kernel may take a moment for what went with a namespace.
func (k *kit) asBefore(f func() error) error {
	host, err := k.hostNetwork()
	if err != nil {
		return err
	}
	before, err := look(host)
	if err == nil {
		err = f()
	}
	if err != nil {
		return err
	}
	eventually(time.Second, func() bool {
		after, lookErr := look(host)
		if err = lookErr; err == nil {
			err = apart(before, after)
		}
		return err == nil
	})
	return err
}

func netClean(k *kit, layer string) error {
	return k.asBefore(func() error {
		o, err := k.mountedObject(layer)
		if err != nil {
			return err
		}
		return o.unmount().done()
	})
}

func netCleanRepeats(k *kit, layer string) error {
	return k.asBefore(func() error {
		o, err := k.object(layer)
		if err != nil {
			return err
		}
		if err := o.unmount().done(); err != nil {
			return fmt.Errorf("when nothing was made: %w", err)
		}
		if err := o.mounted(); err != nil {
			return err
		}
		for i := range 3 {
			if err := o.unmount().done(); err != nil {
				return fmt.Errorf("clean number %d: %w", i+1, err)
			}
		}
		return nil
	})
}

func netCleanHalf(k *kit, layer string) error {
	return errors.Join(k.interrupted(layer, unix.SIGKILL), k.interrupted(layer, unix.SIGTERM))
}

func netCleanGone(k *kit, layer string) error {
	return k.asBefore(func() error {
		o, err := k.mountedObject(layer)
		if err != nil {
			return err
		}
		if err := mount.Unmount(o.at("netns")); err != nil {
			return err
		}
		if err := os.Remove(o.at("netns")); err != nil {
			return err
		}
		delete(o.vars, hook.VarNetns)
		return o.unmount().done()
	})
}

func netCleanOthers(k *kit, layer string) error {
	stays, err := k.mountedObject(layer)
	if err != nil {
		return err
	}
	goes, err := k.mountedObject(layer)
	if err != nil {
		return err
	}
	if err := goes.unmount().done(); err != nil {
		return err
	}
	if err := stays.connected(); err != nil {
		return fmt.Errorf("after the clean of another instance: %w", err)
	}
	return stays.unmount().done()
}

// netFailure gives the hook a namespace that is none.
func netFailure(k *kit, layer string) error {
	return k.asBefore(func() error {
		o, err := k.object(layer)
		if err != nil {
			return err
		}
		if err := mount.Unmount(o.at("netns")); err != nil {
			return err
		}
		r := o.raise()
		switch {
		case r.exit == hook.ExitMissing:
			return skipped(noNetwork + r.String())
		case r.done() == nil:
			return errors.New("exit status 0 for a namespace that is none")
		case r.late:
			return r.done()
		case len(r.stderr) == 0:
			return fmt.Errorf("%s: it says nothing on stderr", r)
		}
		return o.unmount().done()
	})
}

func netAtOnce(k *kit, layer string) error {
	return k.asBefore(func() error {
		var all []*object
		for range 4 {
			o, err := k.object(layer)
			if err != nil {
				return err
			}
			all = append(all, o)
		}
		for _, do := range []func(*object) error{(*object).mounted, func(o *object) error { return o.unmount().done() }} {
			errs := make([]error, len(all))
			var wg sync.WaitGroup
			for i, o := range all {
				wg.Add(1)
				go func() {
					defer wg.Done()
					errs[i] = do(o)
				}()
			}
			wg.Wait()
			if err := errors.Join(errs...); err != nil {
				return err
			}
		}
		return nil
	})
}
