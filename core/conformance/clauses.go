// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"firmwared/core/hook"
)

// Clause is one thing that the contract asks of a hook. Names and order are for people and scripts: additions only.
type Clause struct {
	Name   string
	Layers []string // it is driven once for each of these that the hook has; none: once for the hook
	Mounts bool     // it says nothing about a hook whose mount does not work
	Should bool     // a SHOULD: a warning
	Text   string
	run    func(k *kit, layer string) error
}

var (
	lower = []string{hook.LayerLower}
	union = []string{hook.LayerUnion}
	both  = []string{hook.LayerLower, hook.LayerUnion}

	fetching  = []string{hook.LayerFetch}
	verifying = []string{hook.LayerVerify}
	network   = []string{hook.LayerNet}
)

// clauses is the table. time-limits judges all the calls before it and stays last.
var clauses = []Clause{
	{"describe-shape", nil, false, false, "describe says what the hook can do, and prints nothing else", describeShape},
	{"describe-pure", nil, false, false, "describe changes nothing", describePure},
	{"requires-words", nil, false, true, "the words of requires are KIND:VALUE of known kinds", requiresWords},
	{"unknown-action", nil, false, false, "an action that the hook does not have: 3", unknownAction},
	{"unknown-layer", nil, false, false, "a layer that the hook does not have: 3", unknownLayer},
	{"missing-variables", nil, false, false, "missing or empty variables: 2, and all are named on stderr", missingVariables},
	{"api-version", nil, false, false, "another version of the contract: 2", apiVersion},
	{"unknown-names", nil, false, false, "variables and options that it does not know are ignored", unknownNames},
	{"no-environment", nil, false, false, "without any environment it fails and does nothing", noEnvironment},
	{"probe-mine", lower, false, false, "probe of the sample: 0", probeMine},
	{"probe-not-mine", lower, false, false, "probe of what cannot be the hook's: 3", probeNotMine},
	{"probe-directory", lower, false, false, "probe of a directory says what describe announced of directories", probeDirectory},
	{"probe-pure", lower, false, false, "probe changes nothing and prints nothing", probePure},
	{"mount-shows", both, false, false, "mount shows the firmware, or the merged tree that keeps writes in rw", mountShows},
	{"mount-read-only", both, true, false, "a lower is mounted read-only, a union writable", mountReadOnly},
	{"mount-nodev", lower, true, true, "device nodes of the firmware do not act", mountNodev},
	{"mount-setuid", lower, true, true, "setuid programs of the firmware act", mountSetuid},
	{"odd-paths", lower, true, false, "the firmware's path may hold any character", oddPaths},
	{"mount-again", both, true, false, "mount works again after unmount", mountAgain},
	{"stdout-clean", both, true, false, "only describe prints on stdout, also when verbose", stdoutClean},
	{"outside-untouched", both, true, false, "nothing but the mount and FIRMWARED_STATE is changed", outsideUntouched},
	{"unmount-frees", both, true, false, "after unmount the mount, its devices and its processes are gone", unmountFrees},
	{"unmount-repeats", both, true, false, "unmount succeeds when it was done before", unmountRepeats},
	{"unmount-never-mounted", both, false, false, "unmount succeeds when nothing was mounted, whatever is on record", unmountNeverMounted},
	{"unmount-half-mounted", both, true, false, "unmount frees what a killed mount left", unmountHalfMounted},
	{"unmount-firmware-gone", lower, true, false, "unmount works when the firmware was renamed or removed", unmountFirmwareGone},
	{"unmount-busy", both, true, false, "unmount of what is in use: 5, and nothing is lost", unmountBusy},
	{"unmount-keeps-going", both, true, false, "unmount frees the mount point although its record is damaged", unmountKeepsGoing},
	{"unmount-plain", both, true, false, "with unmount=plain, umount(2) undoes a mount that left FIRMWARED_STATE empty", unmountPlain},
	{"foreign-device", lower, true, false, "unmount leaves a device on record alone that stands on another file", foreignDevice},
	{"mount-failure", both, false, false, "a mount that cannot work fails, says why and leaves nothing", mountFailure},
	{"term-mid-mount", both, true, false, "a mount ended by TERM, then unmount: nothing is left", termMidMount},
	{"no-process-left", both, true, false, "no process is left, but of a daemon between mount and unmount", noProcessLeft},
	{"at-once", both, true, false, "four mounts at the same time, then four unmounts", atOnce},
	{"remount-refreshes", union, true, false, "remount shows what changed below; without remount=live: 3", remountRefreshes},
	{"pack", lower, true, false, "pack makes an image that mounts as the packed tree; without pack=yes: 3", packShows},
	{"fetch-gets", fetching, false, false, "fetch writes what the server has, and prints nothing but progress", fetchGets},
	{"fetch-fails", fetching, false, false, "a fetch of what is not there, breaks off or leads to a file fails and says why", fetchFails},
	{"fetch-limit", fetching, false, false, "fetch fails at FIRMWARED_MAX, whatever the server sends", fetchLimit},
	{"verify-refuses", verifying, false, false, "verify of what is no signature fails", verifyRefuses},
	{"net-create", network, false, false, "create makes the interface in the namespace", netCreate},
	{"net-configure", network, false, false, "configure brings it up with the address, or says what else it has", netConfigure},
	{"net-stdout", network, true, false, "only configure prints on stdout, also when verbose, and what can be understood", netStdout},
	{"net-outside", network, true, false, "nothing but the network and the hook's directories is changed", netOutside},
	{"net-clean", network, true, false, "after clean, outside is as before: interfaces, addresses, routes, rules", netClean},
	{"net-clean-repeats", network, true, false, "clean succeeds when it was done before, and when nothing was made", netCleanRepeats},
	{"net-clean-half", network, true, false, "a create or configure that is ended by TERM or killed, then clean: nothing is left", netCleanHalf},
	{"net-clean-gone", network, true, false, "clean works when the namespace is gone", netCleanGone},
	{"net-clean-others", network, true, false, "clean leaves the networks of other instances alone", netCleanOthers},
	{"net-failure", network, false, false, "a create that cannot work fails, says why, and clean leaves nothing of it", netFailure},
	{"net-at-once", network, true, false, "four networks made at the same time, then four taken away", netAtOnce},
	{"time-limits", nil, false, false, "every call ends within its time limit", timeLimits},
}

// Clauses returns a copy of the table.
func Clauses() []Clause { return append([]Clause(nil), clauses...) }

// find returns the clause of a name.
func find(name string) (Clause, bool) {
	for _, c := range clauses {
		if c.Name == name {
			return c, true
		}
	}
	return Clause{}, false
}
