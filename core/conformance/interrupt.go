// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"firmwared/core/hook"
)

// moments are when a mount is interrupted: soon after its start, and at parts of the time that a whole one took here.
func (k *kit) moments(layer string) []time.Duration {
	took := k.took[layer]
	var all []time.Duration
	for ms := time.Millisecond; ms <= 16*time.Millisecond && ms < took; ms *= 2 {
		all = append(all, ms)
	}
	for eighth := range time.Duration(8) {
		all = append(all, took*(eighth+1)/8)
	}
	return all
}

func unmountHalfMounted(k *kit, layer string) error { return k.interrupted(layer, unix.SIGKILL) }

func termMidMount(k *kit, layer string) error { return k.interrupted(layer, unix.SIGTERM) }

// interrupted ends mounts at several moments, all of their processes at once, and unmounts as the program then does.
func (k *kit) interrupted(layer string, sig syscall.Signal) error {
	for _, moment := range k.moments(layer) {
		o, err := k.object(layer)
		if err != nil {
			return err
		}
		o.mount(func(q *request) { q.after, q.sig = moment, sig })
		o.vars[hook.VarReason] = "recover"
		err = o.unmounted()
		if err == nil {
			err = o.free()
		}
		if err == nil {
			err = k.tidy()
		}
		if err != nil {
			return fmt.Errorf("%s after %v, then unmount: %w", unix.SignalName(sig), moment.Round(time.Microsecond), err)
		}
		if k.ctx.Err() != nil {
			return k.ctx.Err()
		}
	}
	return nil
}
