// SPDX-License-Identifier: Apache-2.0

package hook

import (
	"slices"
	"time"
)

// API is the version of the contract.
const API = "1"

// Actions that a hook is asked for.
const (
	ActionDescribe = "describe"
	ActionProbe    = "probe"
	ActionMount    = "mount"
	ActionRemount  = "remount"
	ActionUnmount  = "unmount"
	ActionPack     = "pack"
	ActionFetch    = "fetch"
	ActionUnpack   = "unpack"
	ActionVerify   = "verify"
)

// Actions of life-cycle hooks: the moments of an instance's life.
const (
	ActionPrepared = "prepared"
	ActionStarted  = "started"
	ActionDead     = "dead"
	ActionDropped  = "dropped"
)

// Actions on the network of an instance.
const (
	ActionCreate    = "create"
	ActionConfigure = "configure"
	ActionClean     = "clean"
)

// Layers: mount, remount and unmount work on the first two, the actions of the network on the third. The others are
// jobs that a hook can have instead.
const (
	LayerLower  = "lower"
	LayerUnion  = "union"
	LayerNet    = "net"
	LayerFetch  = "fetch"
	LayerVerify = "verify"
)

// What a hook's exit status means.
const (
	ExitDone        = 0
	ExitFailed      = 1
	ExitEnvironment = 2 // a variable is missing or bad: named on stderr
	ExitNotMine     = 3 // not supported; for probe: another hook's
	ExitMissing     = 4 // a tool or kernel feature is missing: named on stderr
	ExitBusy        = 5
)

// Names of the variables.
const (
	VarAPI          = "FIRMWARED_API"
	VarAction       = "FIRMWARED_ACTION"
	VarLayer        = "FIRMWARED_LAYER"
	VarFirmware     = "FIRMWARED_FIRMWARE"
	VarFirmwareName = "FIRMWARED_FIRMWARE_NAME"
	VarOutput       = "FIRMWARED_OUTPUT"
	VarRO           = "FIRMWARED_RO"
	VarLowerDir     = "FIRMWARED_LOWERDIR"
	VarRW           = "FIRMWARED_RW"
	VarWorkDir      = "FIRMWARED_WORKDIR"
	VarUnion        = "FIRMWARED_UNION"
	VarID           = "FIRMWARED_ID"
	VarName         = "FIRMWARED_NAME"
	VarState        = "FIRMWARED_STATE"
	VarLabel        = "FIRMWARED_LABEL"
	VarConfinement  = "FIRMWARED_CONFINEMENT"
	VarReason       = "FIRMWARED_REASON"
	VarVerbose      = "FIRMWARED_VERBOSE"
	VarTimeout      = "FIRMWARED_TIMEOUT"
	VarLib          = "FIRMWARED_LIB"
	VarWorkspace    = "FIRMWARED_WORKSPACE"
	VarPID          = "FIRMWARED_PID"
	VarExitCode     = "FIRMWARED_EXIT_CODE"
	VarExitReason   = "FIRMWARED_EXIT_REASON"
	VarURL          = "FIRMWARED_URL"
	VarMax          = "FIRMWARED_MAX"
	VarSHA256       = "FIRMWARED_SHA256"
	VarCA           = "FIRMWARED_CA"
	VarStall        = "FIRMWARED_STALL"
	VarFile         = "FIRMWARED_FILE"
	VarSignature    = "FIRMWARED_SIGNATURE"
	VarKey          = "FIRMWARED_KEY"

	VarNetns           = "FIRMWARED_NETNS"
	VarNetIf           = "FIRMWARED_NET_IF"
	VarNetHostIf       = "FIRMWARED_NET_HOST_IF"
	VarNetAddress      = "FIRMWARED_NET_ADDRESS"
	VarNetAddress6     = "FIRMWARED_NET_ADDRESS6"
	VarNetHostAddress  = "FIRMWARED_NET_HOST_ADDRESS"
	VarNetHostAddress6 = "FIRMWARED_NET_HOST_ADDRESS6"
	VarNetFixed        = "FIRMWARED_NET_FIXED"
	VarNetTransit      = "FIRMWARED_NET_TRANSIT_ADDRESS"
	VarNetLeases       = "FIRMWARED_NET_LEASES"

	optionPrefix = "FIRMWARED_OPT_"
	optionEntry  = optionPrefix + "<KEY>" // how the table names the whole family
	greasePrefix = "FIRMWARED_X_"         // never means anything
)

// All is what Variable.For holds for a variable that every call gets.
const All = "all"

// Action is a row of the table of actions.
type Action struct {
	Name    string
	Layers  []string // it is asked for one of these; none: FIRMWARED_LAYER is unset
	Timeout time.Duration
	Meaning string
}

// Variable is a row of the table of variables.
type Variable struct {
	Name     string
	For      []string // All, actions, or layers: the calls that get it. A call gets it if one of the words fits
	Optional bool     // may be left out of a call that could have it
	Kind     Kind
	Meaning  string
}

// actions is the table of actions. Another kind of hook is more rows here and in variables.
var actions = []Action{
	{ActionDescribe, nil, 5 * time.Second, "say on stdout what the hook can do"},
	{ActionProbe, nil, 5 * time.Second, "say by the exit status whether the firmware is the hook's; change nothing"},
	{ActionMount, []string{LayerLower, LayerUnion}, 30 * time.Second, "mount the layer on its free mount point"},
	{ActionRemount, []string{LayerUnion}, 5 * time.Second, "make a mounted union show what changed below"},
	{ActionUnmount, []string{LayerLower, LayerUnion}, 30 * time.Second, "make the layer's mount point free again"},
	{ActionPack, nil, 30 * time.Minute, "make an image of a directory tree, if describe says pack=yes"},
	{ActionFetch, nil, time.Hour, "make a file of what a URL names"},
	{ActionUnpack, nil, 30 * time.Minute, "make the image of a download that is compressed; 3: it is not"},
	{ActionVerify, nil, 5 * time.Minute, "say by the exit status whether a file's signature is the key's; 3: another hook's kind"},
	{ActionCreate, []string{LayerNet}, 30 * time.Second, "make the interfaces of an instance that is about to start"},
	{ActionConfigure, []string{LayerNet}, 30 * time.Second, "give them addresses, routes and all else; say on stdout what the hook decided itself"},
	{ActionClean, []string{LayerNet}, 30 * time.Second, "take away all that was made for the instance's network"},
	{ActionPrepared, nil, 30 * time.Second, "an instance was mounted for the first time; nothing ran in it yet"},
	{ActionStarted, nil, 30 * time.Second, "pid 1 of an instance runs its program"},
	{ActionDead, nil, 30 * time.Second, "all processes of an instance have ended"},
	{ActionDropped, nil, 30 * time.Second, "an instance is gone"},
}

// variables is the table of variables: the only source of the contract's names.
var variables = []Variable{
	{VarAPI, []string{All}, false, Kind{OneOf: []string{API}}, "version of the contract"},
	{VarAction, []string{All}, false, Kind{}, "what is asked for"},
	{VarLayer, []string{ActionMount, ActionRemount, ActionUnmount, LayerNet}, false, Kind{OneOf: []string{LayerLower, LayerUnion, LayerNet}},
		"which layer the action works on"},
	{VarFirmware, []string{ActionProbe, LayerLower, ActionPack, ActionPrepared, ActionStarted, ActionDead, ActionDropped}, false,
		Kind{Form: FormAnyPath}, "the registered directory or image file; any name; may be gone at unmount and later; pack: the directory"},
	{VarOutput, []string{ActionPack, ActionFetch, ActionUnpack}, false, Kind{Form: FormAnyPath},
		"the file to make; any name; pack: an image, alone in its directory"},
	{VarFirmwareName, []string{ActionPrepared, ActionStarted, ActionDead, ActionDropped}, false, Kind{Form: FormName},
		"name of the firmware"},
	{VarRO, []string{LayerLower}, false, Kind{Form: FormPath}, "the mount point to use"},
	{VarLowerDir, []string{LayerUnion}, false, Kind{Form: FormPaths}, "the lower mount points, top first, separated by colons"},
	{VarRW, []string{LayerUnion}, false, Kind{Form: FormPath}, "the instance's read-write layer (upper directory)"},
	{VarWorkDir, []string{LayerUnion}, false, Kind{Form: FormPath}, "work directory on the same file system as the read-write layer"},
	{VarUnion, []string{LayerUnion, ActionPrepared, ActionStarted, ActionDead}, false, Kind{Form: FormPath},
		"mount point of the merged tree"},
	{VarID, []string{LayerLower, LayerUnion, LayerNet, ActionPrepared, ActionStarted, ActionDead, ActionDropped}, false, Kind{Form: FormID},
		"id of the firmware (lower) or the instance (others)"},
	{VarName, []string{LayerLower, LayerUnion, LayerNet, ActionPrepared, ActionStarted, ActionDead, ActionDropped}, false, Kind{Form: FormName},
		"name of the firmware (lower) or the instance (others)"},
	{VarState, []string{LayerLower, LayerUnion, LayerNet, ActionFetch, ActionVerify}, false, Kind{Form: FormPath},
		"a directory of the hook's own: for this mount or network, kept until its unmount or clean is verified; for this URL; for this call of verify"},
	{VarLabel, []string{LayerLower, LayerUnion}, false, Kind{Form: FormLabel}, "source label for the mount"},
	{optionEntry, []string{LayerLower, LayerNet}, true, Kind{Form: FormText},
		"an option that describe announced: of the firmware, or a property net_<key> of the instance"},
	{VarConfinement, []string{LayerUnion}, false, Kind{OneOf: []string{"apparmor", "userns", "apparmor+userns", "none"}},
		"what the instance will be confined by"},
	{VarReason, []string{ActionUnmount}, false,
		Kind{OneOf: []string{"drop", "remove", "reset", "remount", "failed-mount", "recover"}}, "why the unmount is asked for"},
	{VarVerbose, []string{All}, false, Kind{OneOf: []string{"y", "n"}}, "whether the hook should say more on stderr"},
	{VarTimeout, []string{All}, false, Kind{Form: FormSeconds}, "the call's time limit in seconds"},
	{VarLib, []string{All}, false, Kind{Form: FormPath}, "the directory of lib.bash, which a hook may source"},
	{VarWorkspace, []string{ActionPrepared, ActionStarted, ActionDead}, false, Kind{Form: FormPath},
		"the instance's directory, with rw and console.log"},
	{VarPID, []string{ActionStarted}, false, Kind{Form: FormNumber}, "pid 1 of the instance, as the host numbers it; it may have ended"},
	{VarExitCode, []string{ActionDead}, false, Kind{Form: FormNumber}, "exit status of pid 1, 128+N for signal N"},
	{VarExitReason, []string{ActionDead}, false, Kind{}, "how pid 1 ended, in words"},
	{VarURL, []string{ActionFetch}, false, Kind{Form: FormURL}, "what to fetch; there may be a password in it"},
	{VarMax, []string{ActionFetch, ActionUnpack}, false, Kind{Form: FormBytes}, "how many bytes the file may have"},
	{VarSHA256, []string{ActionFetch}, true, Kind{Form: FormSHA256}, "the checksum that the core will ask of the file"},
	{VarCA, []string{ActionFetch}, true, Kind{Form: FormAnyPath}, "certificates to trust instead of the system's; any name"},
	{VarStall, []string{ActionFetch}, false, Kind{Form: FormNumber}, "seconds without data after which a server counts as stalled; 0: never"},
	{VarFile, []string{ActionUnpack, ActionVerify}, false, Kind{Form: FormAnyPath}, "the file that was fetched; any name"},
	{VarSignature, []string{ActionVerify}, false, Kind{Form: FormAnyPath}, "its signature, a file; any name"},
	{VarKey, []string{ActionVerify}, false, Kind{Form: FormAnyPath}, "the public key, a file: the only one to be trusted; any name"},
	{VarNetns, []string{LayerNet}, true, Kind{Form: FormPath},
		"the instance's network namespace (nsenter --net=PATH); at clean only while it exists"},
	{VarNetIf, []string{LayerNet}, false, Kind{Form: FormInterface}, "name of the interface inside"},
	{VarNetHostIf, []string{LayerNet}, false, Kind{Form: FormInterface}, "name of the end outside; it was free just before create"},
	{VarNetAddress, []string{LayerNet}, false, Kind{Form: FormCIDR}, "IPv4 address inside, with its length"},
	{VarNetAddress6, []string{LayerNet}, false, Kind{Form: FormCIDR6}, "IPv6 address inside, with its length"},
	{VarNetHostAddress, []string{LayerNet}, false, Kind{Form: FormCIDR}, "IPv4 address of the end outside, with its length"},
	{VarNetHostAddress6, []string{LayerNet}, false, Kind{Form: FormCIDR6}, "IPv6 address of the end outside, with its length"},
	{VarNetFixed, []string{LayerNet}, true, Kind{OneOf: []string{"yes"}},
		"the IPv4 address inside is the user's choice; other instances may have the same"},
	{VarNetTransit, []string{LayerNet}, true, Kind{Form: FormCIDR},
		"only with a fixed address: the instance's own one, by which the host reaches it"},
	{VarNetLeases, []string{LayerNet}, false, Kind{Form: FormPath},
		"a directory that the network hooks of all instances share: who has borrowed what"},
}

// Actions returns a copy of the table of actions.
func Actions() []Action { return slices.Clone(actions) }

// Variables returns a copy of the table of variables.
func Variables() []Variable { return slices.Clone(variables) }

// DefaultTimeout is the action's limit where nothing else is configured.
func DefaultTimeout(action string) time.Duration {
	for _, a := range actions {
		if a.Name == action {
			return a.Timeout
		}
	}
	return 5 * time.Second
}

// applies says whether a call gets the variable.
func (v *Variable) applies(action, layer string) bool {
	for _, word := range v.For {
		if word == All || word == action || (layer != "" && word == layer) {
			return true
		}
	}
	return false
}
