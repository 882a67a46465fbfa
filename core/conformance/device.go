// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
	"firmwared/core/mount"
)

// foreignDevice puts the record of a mount back after its unmount, when the loop device in it stands on another file.
func foreignDevice(k *kit, layer string) error {
	const tries = 5
	for range tries {
		o, err := k.mountedObject(layer)
		if err != nil {
			return err
		}
		device, err := o.recordedDevice()
		if err != nil {
			return err
		}
		saved := o.at("saved")
		if err := copyTree(o.at("state"), saved); err != nil {
			return err
		}
		if err := o.unmounted(); err != nil {
			return err
		}
		if err := o.free(); err != nil {
			return skipped("its unmount does not free the device")
		}
		other := o.at("other")
		if err := zeros(other, 1<<20); err != nil {
			return err
		}
		if attach(device, other) != nil {
			continue // another program was faster
		}
		err = mount.RemoveAll(o.at("state"))
		if err == nil {
			err = os.Rename(saved, o.at("state"))
		}
		if err != nil {
			return err
		}
		r := o.unmount()
		if !has(loopsOn(other), device) {
			return fmt.Errorf("%s stood on another file than the record says, and was detached (%v)", device, r)
		}
		return nil
	}
	return skipped(fmt.Sprintf("other programs took the loop device each of %d times", tries))
}

// recordedDevice is the loop device of the firmware, if the hook has it on record.
func (o *object) recordedDevice() (string, error) {
	names, err := o.records()
	if err != nil {
		return "", err
	}
	for _, device := range loopsOn(o.dir + "/") {
		short := filepath.Base(device)
		for _, name := range names {
			text, _ := os.ReadFile(filepath.Join(o.at("state"), name))
			if strings.Contains(name+"\n"+string(text), short) {
				return device, nil
			}
		}
	}
	return "", skipped("the hook has no loop device on record in " + hook.VarState)
}

// attach makes a free loop device stand on a file.
func attach(device, file string) error {
	dev, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(dev)
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.IoctlLoopConfigure(dev, &unix.LoopConfig{Fd: uint32(f.Fd())})
	if errors.Is(err, unix.EINVAL) { // before Linux 5.8
		err = unix.IoctlSetInt(dev, unix.LOOP_SET_FD, int(f.Fd()))
	}
	return err
}
