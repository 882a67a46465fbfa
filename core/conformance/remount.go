// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"errors"
	"fmt"
	"os"

	"firmwared/core/hook"
)

// remountRefreshes changes a lower below a mounted union. What the kernel has looked up before may stay as it was
// until the remount; after it, it must not. A file that is open all the time stays usable.
func remountRefreshes(k *kit, layer string) error {
	o, err := k.mountedObject(layer)
	if err != nil {
		return err
	}
	if !k.d.Live {
		if err := o.call(hook.ActionRemount).is(hook.ExitNotMine); err != nil {
			return fmt.Errorf("describe has no remount=live, status 3 wanted: %w", err)
		}
		return nil
	}
	open, err := os.Open(o.at("union/both"))
	if err != nil {
		return err
	}
	defer open.Close()
	if o.content("union/added") != "" || o.content("union/replaced") != "old" {
		return errors.New("the union does not show its lowers")
	}
	err = errors.Join(
		writeFile(o.at("bottom.source/added"), "new\n"),
		writeFile(o.at("bottom.source/replaced.new"), "new\n"),
		os.Rename(o.at("bottom.source/replaced.new"), o.at("bottom.source/replaced")))
	if err != nil {
		return err
	}
	// What shows without it is the control: the clause proves something only where that is the old state.
	control := ""
	if o.content("union/added") == "" {
		control = " (as before it)"
	}
	if err := o.call(hook.ActionRemount).done(); err != nil {
		return err
	}
	if err := o.verify(); err != nil {
		return err
	}
	switch {
	case o.content("union/added") != "new":
		return errors.New("a file added to a lower after it had been looked for does not show after remount" + control)
	case o.content("union/replaced") != "new":
		return errors.New("a file replaced in a lower still shows its old content after remount")
	}
	if _, err := open.Read(make([]byte, 1)); err != nil {
		return fmt.Errorf("a file that was open all the time: %w", err)
	}
	return nil
}
