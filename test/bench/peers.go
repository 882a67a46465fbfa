// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// peer is a neighbour. A function that is nil is what it cannot do; the field
// cannot says why, by measure or kind of firmware.
type peer struct {
	name, command string
	version       []string
	cannot        map[string]string

	setup func(b *bench) error
	// run is a throw-away run: union, payload, all away. It may lay out untimed what
	// a user would have ready, as a bundle's config.json.
	run func(b *bench, kind, id string, payload ...string) ([]string, error)
	// start leaves an instance running /bin/sleep; stop ends and removes it; exec
	// runs true in it; list lists all.
	start, stop func(b *bench, id string) error
	exec        func(b *bench, id string) []string
	list        func(b *bench) []string
}

const (
	noImage = "it mounts no image files itself"
	sleep   = "100000"
)

var neighbours = []*peer{
	{name: "crun", command: "crun", version: []string{"crun", "--version"}, run: runOCI(crun), exec: execOCI(crun),
		start: startOCI(crun), stop: stopOCI(crun), list: func(b *bench) []string { return crun(b, "list") }},
	{name: "runc", command: "runc", version: []string{"runc", "--version"}, run: runOCI(runc), exec: execOCI(runc),
		start: startOCI(runc), stop: stopOCI(runc), list: func(b *bench) []string { return runc(b, "list") }},
	{name: "bwrap", command: "bwrap", version: []string{"bwrap", "--version"}, run: runBwrap,
		cannot: map[string]string{"exec": "it has no exec", "list": "it runs nothing in the background"}},
	{name: "lxc", command: "lxc-start", version: []string{"lxc-start", "--version"}, setup: setupLXC, run: runLXC,
		start: startLXC, stop: stopLXC, exec: execLXC, list: listLXC,
		cannot: map[string]string{"ext4": noImage, "squashfs": noImage}},
	{name: "nspawn", command: "systemd-nspawn", version: []string{"systemd-nspawn", "--version"}, run: runNspawn,
		start: startNspawn, stop: stopNspawn,
		cannot: map[string]string{"exec": "it needs machined and D-Bus", "list of": "machinectl needs machined and D-Bus",
			"ext4": "--image= needs the host's udev", "squashfs": "--image= needs the host's udev"}},
	{name: "podman", command: "podman", version: []string{"podman", "--version"}, setup: setupPodman, run: runPodman,
		start: startPodman, stop: stopPodman, exec: execPodman, list: func(b *bench) []string { return podman(b, "ps") },
		cannot: map[string]string{"ext4": noImage, "squashfs": noImage}},
	{name: "schroot", command: "schroot", version: []string{"schroot", "--version"}, setup: setupSchroot, run: runSchroot,
		cannot: map[string]string{"exec": "it has no exec", "list": "it runs nothing in the background"}},
}

// dir is where a neighbour's own files are.
func (b *bench) dir(peer string, parts ...string) string {
	return b.path(append([]string{"peers", peer}, parts...)...)
}

// settle sets up the wanted neighbours and tries each once: those that do not
// work here are told of, in the table of every measure that they would be in.
func (b *bench) settle() {
	for _, p := range neighbours {
		if !wanted(b.options.peers, p.name) || b.ctx.Err() != nil {
			continue
		}
		if err := b.try(p); err != nil {
			say("%s does not work here: %v", p.name, err)
			b.res.Versions[p.name] = "does not work here: " + err.Error()
			for _, m := range []string{"run", "first", "exec", "rate", "list"} {
				if wanted(b.measures, m) {
					b.missing(m, p.name, "", err.Error())
				}
			}
			continue
		}
		b.peers = append(b.peers, p)
	}
}

func (b *bench) try(p *peer) error {
	if _, err := exec.LookPath(p.command); err != nil {
		return errors.New("it is not installed")
	}
	if version, err := b.run(p.version...); err == nil {
		b.res.Versions[p.name], _, _ = strings.Cut(strings.TrimPrefix(version, p.name+" "), "\n")
	}
	if err := os.MkdirAll(b.dir(p.name), 0o755); err != nil {
		return err
	}
	if p.setup != nil {
		if err := p.setup(b); err != nil {
			return err
		}
	}
	argv, err := p.run(b, "directory", b.id(), "/bin/true")
	if err != nil {
		return err
	}
	return b.timed(argv).err
}

// forget removes what a neighbour itself leaves: mounts of its storage, and
// cgroups that are its supervisor's.
func (b *bench) forget(p *peer) {
	b.lift(b.dir(p.name))
	for _, dir := range b.cgroups() {
		if base := filepath.Base(dir); base == "payload" || base == "supervisor" {
			_ = os.Remove(dir) // with a process in it, it is told as left
		}
	}
}

// byHand lays the union for a tool that mounts nothing itself.
func (b *bench) byHand(dir, kind string, tool ...string) []string {
	return append([]string{b.hand, dir, b.source(kind)}, tool...)
}

// --- crun and runc --------------------------------------------------------------

type oci func(b *bench, args ...string) []string

func crun(b *bench, args ...string) []string {
	return append([]string{"crun", "--root", b.path("peers/crun/state"), "--cgroup-manager=disabled"}, args...)
}

func runc(b *bench, args ...string) []string {
	return append([]string{"runc", "--root", b.path("peers/runc/state")}, args...)
}

// bundle writes the config.json beside where by-hand mounts the union.
func (b *bench) bundle(tool oci, id string, payload []string) (dir string, err error) {
	dir = b.dir(tool(b)[0], id)
	type list []any
	type object map[string]any
	kill := list{"CAP_KILL"}
	var spaces list
	for _, kind := range []string{"pid", "mount", "uts", "ipc", "network"} {
		spaces = append(spaces, object{"type": kind})
	}
	config, err := json.Marshal(object{
		"ociVersion": "1.0.2", "hostname": "bench", "root": object{"path": "union"},
		"process": object{"args": payload, "cwd": "/", "env": list{"PATH=/bin"}, "user": object{"uid": 0, "gid": 0},
			"capabilities": object{"bounding": kill, "effective": kill, "permitted": kill}},
		"mounts": list{object{"destination": "/proc", "type": "proc", "source": "proc"}},
		"linux":  object{"namespaces": spaces},
	})
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "config.json"), config, 0o644)
}

func runOCI(tool oci) func(*bench, string, string, ...string) ([]string, error) {
	return func(b *bench, kind, id string, payload ...string) ([]string, error) {
		dir, err := b.bundle(tool, id, payload)
		return b.byHand(dir, kind, tool(b, "run", "--bundle", dir, id)...), err
	}
}

func startOCI(tool oci) func(*bench, string) error {
	return func(b *bench, id string) error {
		dir, err := b.bundle(tool, id, []string{"/bin/sleep", sleep})
		if err != nil {
			return err
		}
		if _, err := b.run(b.hand, "--keep", dir, b.source("directory")); err != nil {
			return err
		}
		_, err = b.run(tool(b, "run", "--detach", "--bundle", dir, id)...)
		return err
	}
}

func stopOCI(tool oci) func(*bench, string) error {
	return func(b *bench, id string) error {
		_, err := b.run(tool(b, "delete", "--force", id)...)
		_, err2 := b.run(b.hand, "--remove", b.path("peers", tool(b)[0], id))
		return errors.Join(err, err2)
	}
}

func execOCI(tool oci) func(*bench, string) []string {
	return func(b *bench, id string) []string { return tool(b, "exec", id, "/bin/true") }
}

// --- bubblewrap -----------------------------------------------------------------

func runBwrap(b *bench, kind, id string, payload ...string) ([]string, error) {
	dir := b.dir("bwrap", id)
	tool := append([]string{"bwrap", "--bind", filepath.Join(dir, "union"), "/", "--proc", "/proc", "--unshare-pid",
		"--unshare-uts", "--unshare-ipc", "--unshare-net", "--as-pid-1"}, payload...)
	return b.byHand(dir, kind, tool...), nil
}

// --- LXC ------------------------------------------------------------------------

func setupLXC(b *bench) error {
	return os.WriteFile(b.dir("lxc", "config"), []byte("lxc.net.0.type = empty\nlxc.console.path = none\nlxc.pty.max = 0\n"+
		"lxc.tty.max = 0\nlxc.mount.auto = proc\nlxc.uts.name = bench\nlxc.autodev = 0\n"), 0o644)
}

// lxcStart overlays by itself, but neither makes the upper layer nor removes it.
func lxcStart(b *bench, id, how, init string) []string {
	return []string{"lxc-start", how, "-n", id, "-P", b.dir("lxc"), "-f", b.dir("lxc", "config"),
		"-s", "lxc.rootfs.path=overlay:" + b.source("directory") + ":" + b.dir("lxc", "rw-"+id, "upper"), "-s", "lxc.init.cmd=" + init}
}

func runLXC(b *bench, _, id string, payload ...string) ([]string, error) {
	script := `mkdir -p "$1/upper"; "${@:2}"; status=$?; rm -rf "$1"; exit $status`
	return append([]string{"bash", "-c", script, "lxc", b.dir("lxc", "rw-"+id)},
		lxcStart(b, id, "-F", strings.Join(payload, " "))...), nil
}

func startLXC(b *bench, id string) error {
	if err := os.MkdirAll(b.dir("lxc", "rw-"+id, "upper"), 0o755); err != nil {
		return err
	}
	_, err := b.run(lxcStart(b, id, "-d", "/bin/sleep "+sleep)...)
	return err
}

func stopLXC(b *bench, id string) error {
	_, err := b.run("lxc-stop", "-k", "-n", id, "-P", b.dir("lxc"))
	return errors.Join(err, os.RemoveAll(b.dir("lxc", "rw-"+id)))
}

func execLXC(b *bench, id string) []string {
	return []string{"lxc-attach", "-n", id, "-P", b.dir("lxc"), "--", "/bin/true"}
}

func listLXC(b *bench) []string { return []string{"lxc-ls", "-P", b.dir("lxc"), "--running"} }

// --- systemd-nspawn -------------------------------------------------------------

func runNspawn(b *bench, _, id string, payload ...string) ([]string, error) {
	return append([]string{"systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "-M", id, "--private-network",
		"-D", b.source("directory"), "--overlay=+/::/"}, payload...), nil
}

// startNspawn leaves it in the background: its supervisor is the tool itself.
func startNspawn(b *bench, id string) error {
	argv, _ := runNspawn(b, "", id, "/bin/sleep", sleep)
	return b.background(id, argv)
}

func stopNspawn(b *bench, id string) error { return b.end(id) }

// --- podman ---------------------------------------------------------------------

// setupPodman lowers a limit that podman would raise beyond what is allowed here.
func setupPodman(b *bench) error {
	conf := "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=9000:9000\"]\n" +
		"[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\nruntime = \"crun\"\n"
	return os.WriteFile(b.path("podman.conf"), []byte(conf), 0o644)
}

func podman(b *bench, args ...string) []string {
	dir := b.dir("podman")
	return append([]string{"podman", "--root", dir + "/root", "--runroot", dir + "/run", "--tmpdir", dir + "/tmp"}, args...)
}

func podmanRun(b *bench, how, id string, payload ...string) []string {
	return append(podman(b, "run", how, "--name", id, "--network=none", "--cgroups=disabled", "--log-driver=none",
		"--rootfs", b.source("directory")+":O"), payload...)
}

func runPodman(b *bench, _, id string, payload ...string) ([]string, error) {
	return podmanRun(b, "--rm", id, payload...), nil
}

func startPodman(b *bench, id string) error {
	_, err := b.run(podmanRun(b, "--detach", id, "/bin/sleep", sleep)...)
	return err
}

func stopPodman(b *bench, id string) error {
	_, err := b.run(podman(b, "rm", "--force", "--time", "0", id)...)
	return err
}

func execPodman(b *bench, id string) []string { return podman(b, "exec", id, "/bin/true") }

// --- schroot --------------------------------------------------------------------

// setupSchroot writes its configuration; /etc/schroot/chroot.d and
// /var/lib/schroot are fresh in this namespace. Layers lie with everybody's.
func setupSchroot(b *bench) error {
	var conf strings.Builder
	for _, kind := range kinds {
		how := "type=loopback\nfile=" + b.source(kind) + "\nmount-options=-o ro"
		if kind == "directory" {
			how = "type=directory\ndirectory=" + b.source(kind)
		}
		conf.WriteString("[" + b.token + "-" + kind + "]\n" + how + "\nusers=root\nroot-users=root\nprofile=minimal\nunion-type=overlay\n")
	}
	for _, sub := range []string{"session", "unpack", "union/overlay", "union/underlay", "mount"} {
		if err := os.MkdirAll(b.dir("schroot", sub), 0o755); err != nil {
			return err
		}
	}
	if _, err := b.run("mount", "--bind", b.dir("schroot"), "/var/lib/schroot"); err != nil {
		return err
	}
	return os.WriteFile("/etc/schroot/chroot.d/"+b.token, []byte(conf.String()), 0o644)
}

func runSchroot(b *bench, kind, _ string, payload ...string) ([]string, error) {
	return append([]string{"schroot", "-c", b.token + "-" + kind, "-d", "/", "--"}, payload...), nil
}
