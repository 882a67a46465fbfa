// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
	"firmwared/core/mount"
	"firmwared/core/rwlayer"
)

// object is what one mount is made of: the places that the program would make for a firmware or an instance.
type object struct {
	k        *kit
	layer    string
	dir      string
	firmware string   // of a lower: a copy of the sample
	lowers   []string // of a union: read-only mounts, top first
	vars     map[string]string
	last     result // of the last call
}

// object makes one, which lives until the end of the clause.
func (k *kit) object(layer string) (*object, error) {
	k.count++
	id := fmt.Sprintf("c0ffee%06x", k.count)
	o := &object{k: k, layer: layer, dir: filepath.Join(k.dir, fmt.Sprint(k.count))}
	k.objects = append(k.objects, o)
	o.vars = map[string]string{
		hook.VarID: id, hook.VarName: fmt.Sprintf("kit-%d", k.count), hook.VarLabel: "firmwared_" + id,
		hook.VarState: o.at("state"), hook.VarReason: "drop",
	}
	if err := os.MkdirAll(o.at("state"), 0o700); err != nil {
		return nil, err
	}
	switch layer {
	case hook.LayerLower:
		return o, o.makeLower()
	case hook.LayerNet:
		return o, o.makeNet()
	}
	return o, o.makeUnion()
}

func (o *object) at(name string) string { return filepath.Join(o.dir, name) }

func (o *object) makeLower() error {
	o.firmware = filepath.Join(o.at("firmware"), filepath.Base(o.k.sample))
	o.vars[hook.VarFirmware] = o.firmware
	o.vars[hook.VarRO] = o.at("ro")
	for key, value := range o.k.spec.Options {
		o.vars[hook.OptionVar(key)] = value
	}
	if err := errors.Join(os.Mkdir(o.at("ro"), 0o700), os.Mkdir(o.at("firmware"), 0o755)); err != nil {
		return err
	}
	return copyTree(o.k.sample, o.firmware)
}

// makeUnion fills two lowers. The upper one hides a file of the lower one and shares a directory with it.
func (o *object) makeUnion() error {
	for path, text := range map[string]string{
		"top.source/both": "top\n", "top.source/top": "top\n", "top.source/dir/top": "top\n",
		"bottom.source/both": "bottom\n", "bottom.source/bottom": "bottom\n", "bottom.source/dir/bottom": "bottom\n",
		"bottom.source/gone": "bottom\n", "bottom.source/replaced": "old\n",
	} {
		if err := writeFile(o.at(path), text); err != nil {
			return err
		}
	}
	for _, name := range []string{"top", "bottom"} {
		point := o.at(name)
		if err := os.Mkdir(point, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(point+".source", point, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		o.lowers = append(o.lowers, point)
		flags := uintptr(unix.MS_BIND | unix.MS_REMOUNT | unix.MS_RDONLY | unix.MS_NODEV)
		if err := unix.Mount("", point, "", flags, ""); err != nil {
			return err
		}
	}
	for _, name := range []string{"union", "work"} {
		if err := os.Mkdir(o.at(name), 0o700); err != nil {
			return err
		}
	}
	maps.Copy(o.vars, map[string]string{
		hook.VarLowerDir: strings.Join(o.lowers, ":"), hook.VarRW: o.at("rw"), hook.VarWorkDir: o.at("work"),
		hook.VarUnion: o.at("union"), hook.VarConfinement: "none",
	})
	return rwlayer.Make(o.at("rw"), o.lowers[0])
}

// point is where the object is to be mounted.
func (o *object) point() string {
	if o.layer == hook.LayerLower {
		return o.at("ro")
	}
	return o.at("union")
}

// call asks for something to be done with the object; change may alter the request.
func (o *object) call(action string, change ...func(*request)) result {
	q := request{action: action, layer: o.layer, vars: o.vars, scope: fmt.Sprintf("%s-%s", o.k.spec.Token, filepath.Base(o.dir))}
	for _, f := range change {
		f(&q)
	}
	o.last = o.k.call(q)
	return o.last
}

// mount makes the mount, or the network.
func (o *object) mount(change ...func(*request)) result {
	if o.layer == hook.LayerNet {
		return o.raise(change...)
	}
	return o.call(hook.ActionMount, change...)
}

func (o *object) unmount(change ...func(*request)) result {
	if o.layer == hook.LayerNet {
		return o.call(hook.ActionClean, change...)
	}
	return o.call(hook.ActionUnmount, change...)
}

// mounted mounts the object and looks at it as the program would.
func (o *object) mounted() error {
	if err := o.mount().done(); err != nil {
		return err
	}
	return o.verify()
}

// verify is what the program checks after a mount.
func (o *object) verify() error {
	if o.layer == hook.LayerNet {
		return o.connected()
	}
	p, err := mount.Stat(o.point())
	switch {
	case err != nil:
		return err
	case !p.Root:
		return errors.New("mount: exit status 0, but nothing is mounted")
	}
	return nil
}

// again empties what the program makes anew before each mount.
func (o *object) again() error {
	dirs := []string{"state"}
	if o.layer == hook.LayerUnion {
		dirs = append(dirs, "work")
	}
	for _, dir := range dirs {
		if err := mount.RemoveAll(o.at(dir)); err != nil {
			return err
		}
		if err := os.Mkdir(o.at(dir), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// unmounted unmounts the object and sees that its mount point is free.
func (o *object) unmounted() error {
	if err := o.unmount().done(); err != nil {
		return err
	}
	if o.layer != hook.LayerNet && !mount.Free(o.point()) {
		return errors.New("unmount: exit status 0, but it is still mounted")
	}
	return nil
}

// freePatience is for a device that the kernel takes down a moment after its last use.
const freePatience = 2 * time.Second

// free says what is left of the object's mount: the mount itself, others, loop devices, a daemon's processes.
func (o *object) free() error {
	if o.layer == hook.LayerNet {
		return o.disconnected()
	}
	if !mount.Free(o.point()) {
		return errors.New("it is still mounted")
	}
	points, err := mount.Below(o.dir)
	if err != nil {
		return err
	}
	for _, point := range points {
		if !slices.Contains(o.lowers, point) {
			return fmt.Errorf("%s is still mounted", o.k.plain(point))
		}
	}
	if !eventually(freePatience, func() bool { return len(loopsOn(o.dir+"/")) == 0 }) {
		return fmt.Errorf("%s still stands on the firmware", strings.Join(loopsOn(o.dir+"/"), ", "))
	}
	if o.k.d.Daemon && len(o.last.left) > 0 {
		return fmt.Errorf("processes are left: %s", strings.Join(o.last.left, ", "))
	}
	return nil
}

// purge takes the object away, by force if the hook's unmount does not do it. It works also when the run was
// interrupted.
func (o *object) purge() error {
	ctx := o.k.ctx
	o.k.ctx = context.WithoutCancel(ctx)
	defer func() { o.k.ctx = ctx }()
	// A hook that hangs, or never mounted, is not asked again.
	if o.layer == hook.LayerNet {
		return errors.Join(unmountBelow(o.dir), mount.RemoveAll(o.dir)) // the namespaces go with all that is in them
	}
	if o.free() != nil && o.k.works[o.layer] == nil && len(o.k.late) == 0 {
		o.unmount()
	}
	var err error
	if o.k.d.Daemon {
		runner := &hook.Runner{Cgroup: append(groups(o.k.spec.Token), "hooks")}
		err = runner.Sweep(fmt.Sprintf("%s-%s", o.k.spec.Token, filepath.Base(o.dir)))
	}
	err = errors.Join(err, unmountBelow(o.dir), freeLoops(o.dir+"/"))
	return errors.Join(err, mount.RemoveAll(o.dir))
}
