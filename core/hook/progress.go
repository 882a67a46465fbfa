// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"strconv"
	"strings"
)

// ParseProgress reads the line by which an action tells how far it got,
// progress=DONE/TOTAL in units of its own. Other lines are not ok: they mean
// nothing to this version.
func ParseProgress(line string) (done, total int64, ok bool) {
	value, ok := strings.CutPrefix(line, "progress=")
	first, second, slash := strings.Cut(value, "/")
	d, errDone := strconv.ParseInt(first, 10, 64)
	t, errTotal := strconv.ParseInt(second, 10, 64)
	if !ok || !slash || errDone != nil || errTotal != nil || d < 0 || t < d || t == 0 {
		return 0, 0, false
	}
	return d, t, true
}
